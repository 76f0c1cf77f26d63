"""extauth-bridge: Prosody's authentication lines to a supervised pool of ejabberd programs.

The life of a question, in the order in which it passes through the folders:

  entry        the command starts: a program's terminal is made safe before anything else
  commands/    what an operator types: `cli` finds it, then one module for each; `arguments` are FILE and options
  daemon/      a process that runs for long
    process      its pools with their programs, and how it ends, by force if need be (`lastresort`);
                 `signals`: when they wait
    service      its tasks: events, signals, reload, drain (trio)
    systemd      sockets handed over, readiness, watchdog
  relay/       `connect`: the same clients, asking the shared daemon (`upstream`) as its `settings` say; `oneshot` asks
               once, `deferredlog` logs when there is time
  clients/     whoever asks
    server       many clients on `listeners`, taken in by the `acceptor`, within their `budget`; `status` tells of them
    pipelined    a client with many lines in flight
    lockstep     a client with one question at a time
    lifecycle    what becomes of either: states, and what follows in each
    stdio        either of them on standard input and output, a program's terminal too
  pool/        who answers
    router       a line finds its host's pool, or is refused
    poolset      the pools of one set of settings
    pool         lends `idle` programs to queries (`fairqueue`); each has a `slot` and a `record`, and is looked at on
                 `milestones` (`servicetime`); `poollog` tells of it
    supervisor   exchanges programs and stops them (trio); `starts` and `backoff` say when one is started
  worker/      one running program
    worker       one query at a time, in one `state` after the other (a `latch` tells the end); `spawn` starts it
    stdinpipe    whether a reply was written after the question had been taken
    stderr       what it writes there, within reason; `stderrlines` makes it safe to log, `masks` hides secrets
  config/      `load` reads a file and options; `options` is the table of keys, `settings` what they may hold
  loop/        `reactor`: one epoll set, and what to do for each descriptor; `timer`; `streams`: descriptors of others
  log/         `events` are said, no more than `ratelimit` lets through (`tokenbucket`), in `text` that is safe,
               to `targets` by `setup`
  terminal/    `takeover`; `gate`: may this answer be written? `watcher`: is anybody waiting for it? `procfs`
  protocol/    `query`: the nouns; `lines` and `frames`: the codecs; `checks`: what is let through; `lockstep`: the rule
               of one question at a time; `ordering`: answers leave in the order of their questions

Beside them: programs/, the bundled SQLite program, and prosody/, our module for Prosody, in Lua.

Imports point down this list, and nothing in terminal, log and protocol knows of the others;
tests/unit/test_imports.py keeps it so.
"""

__version__ = "0.1.1"
