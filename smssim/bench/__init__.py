"""`smssim bench`: how fast smssim is on this machine, beside what most people would write."""
