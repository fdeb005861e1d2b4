"""The whole system of core classes under a simulated clock, network and disk, in one process, from one seed.

`world` plays a run. `producer`, `monitor` and `sender` are thin glue: they drive the classes that the live nodes drive,
and have no rule of their own. `network`, `disk`, `saver` and `clock` are what can fail; `plan` draws from the seed how.
`books`, `accounts`, `conduct` and `sender_book` count and judge everything again from first principles. `bugs` are
there to be found, and `hunt` looks for them.
"""
