"""Independent answers to what a scenario takes, with which the twin is compared.

`core_engine` plays a scenario with the real core classes under a virtual clock. `heap` schedules it ideally, message by
message. `draw` draws scenarios. None of them may read the twin.
"""
