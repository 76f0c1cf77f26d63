"""extauth-bridge: Prosody's authentication lines to a supervised pool of ejabberd programs.

The life of a question, in the order of the modules it passes:

  entry, terminal   the command starts; a program's terminal is made safe before anything else
  cli, commands/    what the operator typed; commands/run puts the parts below together
  relay             `connect`: the same sessions, asking the shared daemon through
    relayfile, upstream
  server            `serve`: many clients on listeners, told to systemd, shown on the statuspage
    doors             takes their connections
  service           the tasks: events, time, signals, reload, drain (trio)
  switchboard       one epoll set and what to do for each descriptor
  session           a pipelined client: lines in, ordered answers out
  lockstepsession   a lockstep client: one question at a time, with
    gate, waiting     "is anybody waiting for this answer?"
  lockstep          the rule such a client is held to                                  no I/O
  lines             the line codec                                                     no I/O
  ordering          answers leave in the order of their questions                      no I/O
  exchange          a line finds its host's pool, or is refused
  checks            what is let through                                                no I/O
  keeper            renews a pool's programs, and stops them (trio)
  pool              lends idle programs to queries, ends what has had its time
  worker            one program, one query at a time
  pipes             whether its reply was written after it had taken its question
    stderr            what it writes there, within reason
      stderrlines       as lines that are safe to log, with                            no I/O
      masks             a mask over every secret                                       no I/O
  frames            ejabberd's frame codec                                             no I/O
  launch            starts a program

Beside them: messages (the nouns; no I/O), plant (the pools of one set of settings), lastresort (leaving, by force),
slots, turns and pace (what a pool is made of), budget (what clients may hold; no I/O), starts, alarm and backoff
(when; no I/O), inquiry (what `ask` asks a daemon with), descriptors (other people's streams), config with settings and
options, regularfile (how config and relayfile read), log with logtargets, procfs, programs/ (the bundled SQLite
program), prosody/ (our module for Prosody, in Lua: a client of the server).

Imports point downwards in that list and to what stands beside it; tests/unit/test_imports.py keeps it so.
"""

__version__ = "0.1.1"
