-- Plays scripts against the connection of mod_auth_extauth_bridge, one after another, each with everything anew.
-- Usage: lua module.lua TESTS FOLDER, where TESTS has prosody/stub.lua.
--
-- Reads, again and again, a line with the number of commands and then these, a line each; what is in capitals is a
-- number, HEX are bytes in hexadecimal:
--
--   ask URGENT SIZE       a query, numbered from 1; its line has this many bytes more than it needs
--   answer WHICH DIGIT    the daemon answers this one of the open questions
--   say HEX               the daemon says this
--   end                   it closes the connection
--   pass SECONDS          time goes by
--   withdraw WHICH        nobody waits for this query any more
--   set NAME VALUE        a field of the stub's: mode, full, refuse, part, two
--   leave                 the host goes
--
-- Writes what happens, a line each, and then `done` with the lines of code that were executed:
--
--   asked NUMBER NOW DEADLINE HEX | sent SOCKET HEX | said SOCKET NOW HEX | verdict NUMBER NOW WORD | wrong TEXT

local tests, folder = arg[1], arg[2];
local lines_before = { connection = 0, link = 400, protocol = 500, queue = 650, socket = 700, verdicts = 750 };

local chunks, load_anew = {}, loadfile;
function loadfile(path) -- luacheck: ignore 121
	chunks[path] = chunks[path] or assert(load_anew(path));
	return chunks[path];
end

local function hex(text)
	return (text:gsub(".", function (char) return ("%02x"):format(char:byte()); end)) .. ".";
end

local function unhex(text)
	return (text:gsub("(%x%x)", function (digits) return string.char(tonumber(digits, 16)); end));
end

local told = {};
local function tell(...) told[#told + 1] = table.concat({ ... }, " "); end

local function play(script)
	local stub = assert(loadfile(tests .. "/prosody/stub.lua"))();
	local new_socket = stub.new_socket;
	package.loaded["socket.unix"] = { stream = function ()
		local socket = new_socket();
		local number, send = #stub.sockets, socket.send;
		function socket:send(data)
			local before = #self.incoming;
			local last, err, part = send(self, data);
			tell("sent", number, hex(data:sub(1, last or part or 0)));
			local hello = self.incoming:sub(before + 1);
			if hello ~= "" then tell("said", number, stub.now, hex(hello)); end
			return last, err, part;
		end
		return socket;
	end };
	stub.load(folder);
	local connection = stub.module:require("connection")("/s", function (level, text, ...)
		if level == "error" then tell("wrong", (text:format(...):gsub("\n.*", ""))); end
	end);
	local queries = {};
	local function last() return stub.sockets[#stub.sockets] or { open = {} }; end
	local function say(data)
		local socket = last();
		if not socket.readable then return; end
		tell("said", #stub.sockets, stub.now, hex(data));
		socket:says(data);
	end
	local commands = {
		ask = function (urgent, size)
			local number = #queries + 1;
			local query = { urgent = urgent == "1", timeout = 5, owner = "h", address = "-" };
			query.line = ("auth:u%d:h:%s"):format(number, ("p"):rep(1 + size));
			queries[number] = query;
			tell("asked", number, stub.now, stub.now + query.timeout, hex(query.line));
			connection:submit(query);
			local function waker() tell("verdict", number, stub.now, query.verdict); end
			if query.verdict then waker(); else table.insert(query.wakers, waker); end
			stub.pass(0);
		end;
		answer = function (which, digit)
			local socket = last();
			if #socket.open == 0 then return; end
			local tag = table.remove(socket.open, socket.tagged and 1 + which % #socket.open or 1);
			say((socket.tagged and tag .. " " or "") .. digit .. "\n");
		end;
		say = function (text) say(unhex(text)); end;
		["end"] = function ()
			if last().readable then last():ends(); end
		end;
		pass = function (seconds) stub.pass(tonumber(seconds)); end;
		withdraw = function (which)
			if #queries > 0 then connection.withdraw(queries[1 + which % #queries]); end
			stub.pass(0);
		end;
		set = function (name, value)
			if name == "part" then stub.part = tonumber(value); return; end
			stub[name] = value ~= "none" and value or nil;
		end;
		leave = function () connection:leave("h"); end;
	};
	for _, line in ipairs(script) do
		local name, one, two = line:match("^(%S+) ?(%S*) ?(%S*)$");
		commands[name](one, two);
	end
	stub.full, stub.refuse, stub.part = nil, nil, nil;
	stub.pass(12);
	for number, query in ipairs(queries) do
		if not query.verdict then tell("wrong", "no verdict for", number); end
	end
	if connection:is_busy() then tell("wrong", "it never comes to rest"); end
end

-- Which lines of the module are executed: where each function's lines begin is remembered, as it is asked so often.
local seen;
local getinfo, starts = debug.getinfo, setmetatable({}, { __mode = "k" });
local function executed(_, line)
	local f = getinfo(2, "f").func;
	local start = starts[f];
	if start == nil then
		start = lines_before[getinfo(2, "S").short_src:match("([^/]+)%.lib%.lua")] or false;
		starts[f] = start;
	end
	if start then seen[start + line] = true; end
end

for count in io.lines() do
	local script = {};
	for number = 1, tonumber(count) do script[number] = io.read("*l"); end
	told, seen = {}, {};
	debug.sethook(executed, "l");
	local ok, err = pcall(play, script);
	debug.sethook();
	if not ok then tell("wrong", (tostring(err):gsub("\n.*", ""))); end
	local numbers = { "done" };
	for number in pairs(seen) do numbers[#numbers + 1] = number; end
	io.write(table.concat(told, "\n"), #told > 0 and "\n" or "", table.concat(numbers, " "), "\n");
	io.flush();
end
