-- What every Lua from 5.1 to 5.4 has, what Prosody gives its modules, and what is looked for before it is used.
std = "min"
globals = { "module" }
read_globals = { "prosody", coroutine = { fields = { isyieldable = {} } } }
max_line_length = 120
files["tests"] = { globals = { "prosody" } }
