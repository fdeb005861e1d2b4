"""The whole system of core classes under a simulated clock, network, disk and engine, in one process, from one seed.

`world` plays a run. `host` is a process, which owns its run at once or stands by for it; `producer`, `monitor` and
`sender` are thin glue: they drive the same classes as the live nodes and have no rules of their own. `network`, `disk`,
`engine`, `saver`, `driving` and `clock` are the parts that can fail or wait; `plan` draws from the seed how they fail,
and `faults` lets them. `books`, `accounts`, `conduct` and `sender_book` recount and judge everything from first
principles; `records` tells them what is really on record. `log_play` plays a replicated log by itself. `bugs` and
`engine_bugs` hold the planted bugs, and `hunt` searches for them.
"""
