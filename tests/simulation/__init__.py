"""The whole system of core classes under a simulated clock, network and disk, in one process, from one seed.

`world` plays a run; `nodes` does with the core classes what the shells in `smssim/nodes` do; `books` counts everything
again from first principles; `network`, `disk` and `clock` are what can fail; `plan` draws from the seed how; `bugs` are
there to be found.
"""
