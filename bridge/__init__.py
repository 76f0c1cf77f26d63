"""extauth-bridge: Prosody's authentication lines to a supervised pool of ejabberd programs, or of Prosody's.

A query's life, folder by folder:

  entry        the command starts: a program's terminal is made safe before anything else
  commands/    what an operator types: `cli` dispatches to one module per command; `arguments` parses FILE and options;
               `help` shows the pages of man/ (`mdoc` renders them)
  bench/       `load` measures one pool, `phases` after phase, with a `tally` of each; `sizing` concludes from them and
               from what the `machine` has; `report` and `progress` are for people
  daemon/      a long-running process
    process      its pools with their programs, and how it ends, by force if need be (`lastresort`);
                 `signals`: when they are blocked
    service      its tasks: events, signals, drain (trio)
    reload       a new configuration is proven before it replaces the one in force
    systemd      readiness, status, watchdog; `statuslog`: the status in the log, for SIGUSR1
    activation   sockets that systemd passes
  setup/       `setup`: `files` that are known again, `former` ones too, with the paths of this `installation`; the
               `services` they make; the `firstconfig`; `prosody`'s directory; whom to `trust`, with the `programs`;
               on which `host`, and the `report`
  relay/       `connect`: the same clients, asking the shared daemon (`upstream`) as its `settings` say; `oneshot` asks
               once, `deferredlog` logs when there is time
  checking/    `check`: a `driver` of one process, in one of two `dialects`, the `lab` where trials are made (`course`),
               their `findings`, the `report`; `surroundings`: what a file names
  clients/     whoever asks
    server       many clients on `listeners`, accepted by `acceptor`, within their `budget`; `status` tells a `page`
                 about them and the pools
    reception    a client's first line decides which of these it is
    windowed     a client with many lines in flight: `pipelined`, answered in order, or `tagged`, as they come
    lockstep     a client with one question at a time
    lifecycle    the states of each, and which may follow which
    stdio        one of them on standard input and output, or on a program's terminal
  pool/        who answers
    router       a line finds its host's pool, or is refused; `verdicts` logs what became of each, if that is wanted
    poolset      the pools of one set of settings, and of those that are to replace them after their `proof`
    pool         lends `idle` programs to queries, some of them `again`; each program has a `record`, and is checked at
                 `milestones` (`servicetime`); `poollog` and `figures` tell of it
    fairqueue    which query is next: clients take `turns`, in `lanes` of their accounts; what is `shared` by several
    rounds       what no reply tells: what is stuck, late or overdue; `overload`; `probation` of `suspects`
    reserve      the pool that a new one replaces, until that answers
    staff        its programs: how many there are, how many are started, and when (`backoff`, `startuptime`)
    supervisor   replaces programs and stops them (trio); `starts`: which pool starts one next;
                 `descriptors`: how many all of them need
  worker/      one running program
    worker       one query at a time, in one `state` after another (a `latch` signals its end); `spawn` starts it, or
                 `startfault` says why it cannot; `pieces` of a reply, and `misbehaviour`
    stdinpipe    whether a reply was written after its question had been read
    stderr       reads its stderr, within limits; `stderrlines` makes it safe to log, `masks` hides secrets
  config/      `load` reads a file and options; `options` is the table of keys, `settings` what they may hold
  loop/        `reactor`: one epoll set, and a handler for each descriptor; `timer`; `streams`: borrowed descriptors;
               `orphans`: reaped as PID 1
  log/         `events` formats a line, `text` makes it safe, `ratelimit` (`tokenbucket`) holds back floods,
               `setup` chooses the `targets`
  terminal/    `takeover`; `gate`: may this answer be written? `watcher`: is anybody waiting for it? `procfs`
  protocol/    `query`: the nouns; `lines` (with their limit): what clients speak; `frames` or `generic`: what programs
               do, each a `codec` (`codecs` tells which), `explain` what is neither; `checks`: what is let through;
               `lockstep`: the rule of one question at a time; `ordering`: answers leave in the order of their
               questions; `tagged`: as they come, each with its question's tag

Besides: prosody/, our module for Prosody, in Lua; systemd/, units and examples, among them programs that import nothing
of this package; and

  programs/    `sqlite`, the bundled program, with its `users` and their `hashes`; `names` it lets through; `transfer`
               brings users from other servers and takes them there (`exporting`)
    sql          the same for `sqlusers` in a shared database: `sqltables` of three kinds, with `sqlrows` in them, on
                 one `sqlconnection`, to where `sqlurl` says
    importing/   what others keep their users in: `prosody` (in `lua`), `ejabberd` (`piefxis`, or an `sqldump` of
                 `sqltokens`), `csvfile`; each makes an `entry` of each user, a `haul` of all; `progress`

Imports point down this list, and terminal, log and protocol import nothing from each other;
tests/unit/test_imports.py enforces it.
"""

__version__ = "0.3.0"
