"""`tsn bench`: loads a daemon with snippets of many streams, and says how it bore that.

arguments ──► command ──► generator ──► lanes (native, kserve) ──► daemon
                 │            └──► ledger ──► summary ──► report, record, plots
                 └──► ramp, which says what rate to try next

Latency counts from when a snippet was due, not from when it could be sent. All of it runs on
one event loop in one thread.
"""
