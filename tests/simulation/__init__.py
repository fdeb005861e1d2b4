"""The whole system of core classes under a simulated clock, network and disk, in one process, from one seed.

`world` plays a run. `producer`, `monitor` and `sender` are thin glue: they drive the same classes as the live nodes and
have no rules of their own. `network`, `disk`, `saver` and `clock` are the parts that can fail; `plan` draws from the
seed how they fail. `books`, `accounts`, `conduct` and `sender_book` recount and judge everything from first principles.
`bugs` holds the planted bugs, and `hunt` searches for them.
"""
