-- Prosody's interfaces as far as mod_auth_extauth_bridge uses them, for Lua versions that Prosody is not installed
-- for: coroutines, a clock that stands still but for the test, and a daemon that says what the test says.

local unpack = table.unpack or unpack; -- luacheck: ignore 113 143

local stub = { now = 1000, logged = {}, sockets = {}, hooks = {}, options = {}, posted = {}, full = false };

-- A socket to the daemon: `sent` is what was written, `incoming` what is there to be read.
local socket = {};
socket.__index = socket;

function stub.new_socket()
	local new = setmetatable({ sent = "", incoming = "", sends = 0 }, socket);
	table.insert(stub.sockets, new);
	new.descriptor = #stub.sockets + 2;
	return new;
end

function socket:settimeout(seconds)
	assert(seconds == 0, "a socket that blocks");
	self.nonblocking = true;
end

function socket:connect(path)
	assert(self.nonblocking);
	self.path = path;
	if stub.refuse then return nil, stub.refuse; end
	return 1;
end

function socket:getfd() return self.descriptor; end

function socket:send(data)
	assert(not self.closed, "written to a closed socket");
	assert(#data <= 8192, "more at once than the kernel takes whole");
	self.sends = self.sends + 1;
	if self.broken then return nil, "closed", 0; end
	if stub.full then return nil, "timeout", 0; end
	if stub.part then
		local part = stub.part;
		stub.part = nil;
		self.sent = self.sent .. data:sub(1, part);
		return nil, "timeout", part;
	end
	self.sent = self.sent .. data;
	return #data;
end

function socket:receive(size)
	assert(not self.closed, "read from a closed socket");
	local data = self.incoming:sub(1, size);
	self.incoming = self.incoming:sub(#data + 1);
	if #data == size then return data; end
	return nil, self.ended or "timeout", data;
end

function socket:close()
	assert(not self.readable, "still watched when it is closed");
	self.closed = true;
end

-- The daemon says something, or closes the connection; the main loop notices.
function socket:says(data)
	self.incoming = self.incoming .. data;
	if self.readable then self.readable(); end
	stub.pass(0);
end

function socket:ends(how)
	self.ended = how or "closed";
	if self.readable then self.readable(); end
	stub.pass(0);
end

-- Timers: in the order of their time, when `pass` lets it pass.
local timers = {};

function stub.timers()
	local count = 0;
	for _ in pairs(timers) do count = count + 1; end
	return count;
end

local function add_task(delay, callback)
	assert(delay >= 0);
	local id = {};
	timers[id] = { at = stub.now + delay, callback = callback };
	return id;
end

function stub.pass(seconds)
	local ends = stub.now + seconds;
	for _ = 1, 10000 do
		local first;
		for id, timer in pairs(timers) do
			if timer.at <= ends and (not first or timer.at < timers[first].at) then first = id; end
		end
		if not first then
			stub.now = ends;
			return;
		end
		local timer = timers[first];
		timers[first] = nil;
		stub.now = math.max(stub.now, timer.at);
		local again = timer.callback(stub.now);
		assert(again == nil, "a timer that goes on by itself");
	end
	error("timers without end");
end

-- util.async: runs `f` where one may wait; the returned table has what it returned, once it did.
local main = coroutine.running();

local function in_coroutine()
	local thread = coroutine.running();
	return thread ~= nil and thread ~= main;
end

function stub.run(f, ...)
	local task = { arguments = { ... } };
	task.thread = coroutine.create(function ()
		task.result = { f(unpack(task.arguments, 1, 4)) };
	end);
	assert(coroutine.resume(task.thread));
	return task;
end

local async = { ready = in_coroutine };

function async.waiter()
	local thread, waiting, done = coroutine.running(), false, false;
	return function ()
		if done then return; end
		waiting = true;
		coroutine.yield("wait");
	end, function ()
		assert(not done, "woken twice");
		assert(not in_coroutine(), "woken by another one that waits");
		done = true;
		if waiting then assert(coroutine.resume(thread)); end
	end;
end

-- Does one thing, once.
function async.runner(f, watchers, data)
	local runner = { data = data };
	function runner:run(item)
		assert(not in_coroutine(), "run by another one that may wait");
		assert(not self.thread, "run twice");
		self.thread = coroutine.create(f);
		self:go_on(item);
	end
	function runner:go_on(...)
		local ok, err = coroutine.resume(self.thread, ...);
		if not ok then watchers.error(self, err); end
	end
	return runner;
end

-- util.sasl: PLAIN only, as Prosody's does it once the message is taken apart.
local sasl = {};
sasl.__index = sasl;

local function new_sasl(realm, profile)
	return setmetatable({ realm = realm, profile = profile }, sasl);
end

function sasl:clean_clone() return new_sasl(self.realm, self.profile); end

function sasl:process(message)
	local user, password = message:match("^%z(%Z+)%z(.*)$");
	local correct, state = self.profile.plain_test(self, user, password, self.realm);
	if state == false then return "failure", "account-disabled"; end
	if state == nil or not correct then return "failure", "not-authorized", "wrong"; end
	return "success";
end

-- util.encodings: as strict as Prosody's, which test_wire.py compares.
local function valid_utf8(text)
	local at = text:find("[\128-\255]");
	while at do
		local lead, second = text:byte(at, at + 1);
		local size = lead >= 0xF5 and 0 or lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or lead >= 0xC2 and 2 or 0;
		local least = lead == 0xE0 and 0xA0 or lead == 0xF0 and 0x90 or 0x80;
		local most = lead == 0xED and 0x9F or lead == 0xF4 and 0x8F or 0xBF;
		if size == 0 or not second or second < least or second > most then return false; end
		if not text:find("^" .. ("[\128-\191]"):rep(size - 2), at + 2) then return false; end
		at = text:find("[\128-\255]", at + size);
	end
	return true;
end

stub.valid_utf8 = valid_utf8;

-- The rest.
local modules = {
	["util.async"] = async;
	["util.encodings"] = { utf8 = { valid = valid_utf8 } };
	["util.jid"] = { node = function (text) return text and text:match("^([^@/]+)@"); end };
	["util.sasl"] = { new = new_sasl };
	["util.stanza"] = {
		clone = function (stanza)
			return { attr = { to = stanza.attr.to, from = stanza.attr.from }, text = stanza.text };
		end;
	};
	["util.time"] = { monotonic = function () return stub.now; end };
	["util.timer"] = { add_task = add_task, stop = function (id) timers[id] = nil; end };
	["socket.unix"] = { stream = stub.new_socket };
	["net.server"] = {
		get_backend = function () return "epoll"; end;
		watchfd = function (descriptor, readable)
			local watched = stub.sockets[descriptor - 2];
			watched.readable = readable;
			return {
				close = function () watched.readable = nil; end;
			};
		end;
	};
};
for name, loaded in pairs(modules) do package.loaded[name] = loaded; end

function stub.load(path)
	local module = { host = "example.com", environment = {} };
	function module.log(_, level, format, ...) -- luacheck: ignore 212/level
		table.insert(stub.logged, format:format(...));
	end
	local function option(_, name, default)
		if stub.options[name] ~= nil then return stub.options[name]; end
		return default;
	end
	module.get_option_string, module.get_option_number = option, option;
	function module:get_option_set(name, default)
		local items = {};
		for _, item in ipairs(option(self, name, default)) do items[item] = true; end
		return {
			contains = function (_, item) return items[item] == true; end;
			items = function () return next, items; end;
		};
	end
	function module.provides(_, what, provider)
		assert(what == "auth");
		stub.provider = provider;
	end
	function module.hook(_, event, handler) stub.hooks[event] = handler; end
	_G.module = module;
	_G.prosody = {
		hosts = { ["example.com"] = { host = "example.com", type = "local", sessions = {} } };
		core_post_stanza = function (origin, stanza) table.insert(stub.posted, { origin, stanza, in_coroutine() }); end;
	};
	assert(loadfile(path))();
	stub.module = module;
end

return stub;
