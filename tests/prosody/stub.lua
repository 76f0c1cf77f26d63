-- Prosody's interfaces as far as mod_auth_extauth_bridge uses them, for Lua versions that Prosody is not installed
-- for: coroutines, a clock that stands still but for the test, and a daemon that says what the test says.

local unpack = table.unpack or unpack; -- luacheck: ignore 113 143

-- mode: "tagged", "plain" (a daemon that does not know tags), "silent" (the test answers the hello itself).
-- links: the sockets whose hello was accepted.
local stub = {
	now = 1000, logged = {}, sockets = {}, links = {}, hosts = {}, options = {}, posted = {}, stores = {};
	mode = "tagged";
};
local TAGGED, ANSWERS = "extauth-bridge:tagged:1\n", "extauth-bridge:answers:3\n";

-- A socket to the daemon: `sent` is what was written, `lines` the questions in it, `incoming` what is to be read.
local socket = {};
socket.__index = socket;

function stub.new_socket()
	local new = setmetatable({ sent = "", incoming = "", lines = {}, addresses = {}, open = {} }, socket);
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
	if self.broken then return nil, "closed", 0; end
	if stub.full then return nil, "timeout", 0; end
	if stub.part then
		local part = stub.part;
		stub.part = nil;
		self.sent = self.sent .. data:sub(1, part);
		return nil, "timeout", part;
	end
	self.sent = self.sent .. data;
	self:note(data);
	return #data;
end

function socket:note(data)
	if data == TAGGED or data == ANSWERS then
		if stub.mode == "silent" then return; end
		self.tagged = data == TAGGED;
		local refused = self.tagged and stub.mode == "plain" or not self.tagged and stub.two;
		if not (self.tagged and refused) then table.insert(stub.links, self); end
		self.incoming = refused and "0\n" or "1\n";
		stub.add_task(0, function ()
			if self.readable then self.readable(); end
		end);
		return;
	end
	assert(data:find("^[^\n]+\n$"), "not one line");
	local tag, address, line = nil, nil, data:sub(1, -2);
	if self.tagged then tag, address, line = line:match("^(%w+) (%S+) (.*)$"); end
	assert(not tag or (#tag <= 16 and not self.lines[tag]), "no tag, or one that was used before");
	if tag then self.lines[tag] = true; end
	table.insert(self.lines, line);
	table.insert(self.addresses, address or "?");
	table.insert(self.open, tag or "");
end

-- The text of answers to the oldest open questions; "-" leaves that one open for good.
function socket:text_of(...)
	local text = "";
	for _, verdict in ipairs({ ... }) do
		local tag = table.remove(self.open, 1) or self.tagged and "999" or "";
		if verdict ~= "-" then text = text .. (self.tagged and tag .. " " or "") .. verdict .. "\n"; end
	end
	return text;
end

function socket:answers(...)
	self:says(self:text_of(...));
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

local order = 0;

local function add_task(delay, callback)
	assert(delay >= 0);
	local id = {};
	order = order + 1;
	timers[id] = { at = stub.now + delay, order = order, callback = callback };
	return id;
end

stub.add_task = add_task;

function stub.pass(seconds)
	local ends = stub.now + seconds;
	for _ = 1, 10000 do
		local first;
		for id, timer in pairs(timers) do
			local best = first and timers[first];
			if timer.at <= ends and (not best or timer.at < best.at or timer.at == best.at and timer.order < best.order) then
				first = id;
			end
		end
		if not first then
			stub.now = ends;
			return;
		end
		local timer = timers[first];
		timers[first] = nil;
		stub.now = math.max(stub.now, timer.at);
		stub.turns = (stub.turns or 0) + 1;
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
	stub.pass(0);
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

-- util.sasl: the mechanism is PLAIN, which the module does itself, unless the test selects OAUTHBEARER.
local sasl = {};
sasl.__index = sasl;

local function new_sasl(realm, profile)
	return setmetatable({ realm = realm, profile = profile, selected = "PLAIN" }, sasl);
end

function sasl:process(message)
	assert(self.selected == "OAUTHBEARER");
	local authorization, token = message:match("^n,a=([^,]*),\1auth=Bearer ([^\1]*)\1\1$");
	local user, state = self.profile.oauthbearer(self, token, self.realm, authorization);
	if state == nil or not user then return "challenge", "invalid_token"; end
	self.username = user;
	return "success";
end

-- util.encodings: SASLprep as far as the tests need it.
local function saslprep(text)
	if #text > 1023 or text:find("[%z\1-\31\127]") or text:find("\194[\128-\159]") or text:find("[\192\193\245-\255]") then
		return nil;
	end
	return (text:gsub("\194\173", ""):gsub("u\204\136", "\195\188"):gsub("\194\160", " "));
end

local encodings = { stringprep = { saslprep = saslprep, nodeprep = string.lower } };

-- util.cache: the last `size` keys that were set.
local function new_cache(size)
	local values, set_at, keys = {}, {}, {};
	local first, last, count = 1, 0, 0;
	local function forget(key)
		if values[key] ~= nil then count = count - 1; end
		values[key], set_at[key] = nil, nil;
	end
	return {
		get = function (_, key) return values[key]; end;
		set = function (_, key, value)
			forget(key);
			if value == nil then return; end
			last, count = last + 1, count + 1;
			values[key], set_at[key], keys[last] = value, last, key;
			while count > size do
				if set_at[keys[first]] == first then forget(keys[first]); end
				keys[first], first = nil, first + 1;
			end
		end;
	};
end

-- util.stanza: what is in one is `text`, its first child.
local stanzas = {};

function stanzas.stanza(name, attr)
	return { name = name, attr = attr or {}, tags = {} };
end

function stanzas.clone(stanza)
	local copy = stanzas.stanza(stanza.name, {});
	for name, value in pairs(stanza.attr) do copy.attr[name] = value; end
	copy[1] = stanza[1];
	return copy;
end

function stanzas.error_reply(stanza, kind, condition)
	assert(stanza.attr.type ~= "error");
	return { name = stanza.name, attr = { to = stanza.attr.from, type = "error" }, error = kind .. " " .. condition };
end

function stub.stanza(name, to, text, kind)
	local stanza = stanzas.stanza(name, { to = to, from = "sender@example.net", type = kind });
	stanza[1] = text;
	return stanza;
end

-- The rest.
local modules = {
	["util.async"] = async;
	["util.jid"] = {
		node = function (text) return text and text:match("^([^@/]+)@"); end;
		prepped_split = function (text) return text:match("^([^@/]+)@([^@/]+)$"); end;
	};
	["util.sasl"] = { new = new_sasl };
	["core.usermanager"] = {}; -- of Prosody before 13, as far as that matters
	["util.cache"] = { new = new_cache };
	["util.encodings"] = encodings;
	["util.stanza"] = stanzas;
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

-- A module's interface, of a host or ("*") of all.
local function new_api(host, environment)
	local api = { host = host, name = "auth_extauth_bridge", environment = environment };
	function api.log(_, level, format, ...) -- luacheck: ignore 212/level
		table.insert(stub.logged, format:format(...));
	end
	function api.get_option(_, name, default)
		if stub.options[name] ~= nil then return stub.options[name]; end
		return default;
	end
	function api:require(name)
		local library = assert(loadfile(stub.folder .. "/" .. name .. ".lib.lua"));
		local before = _G.module;
		_G.module = self;
		local loaded = library();
		_G.module = before;
		return loaded;
	end
	function api.set_global() end
	function api.hook_global() end
	function api.shared() return {}; end
	function api.open_store(_, name)
		stub.stores[name] = stub.stores[name] or {};
		return {
			get = function (_, user) return stub.stores[name][user]; end;
			set = function (_, user, value) stub.stores[name][user] = value; end;
		};
	end
	function api:provides(what, provider)
		assert(what == "auth");
		stub.hosts[self.host].provider = provider;
	end
	function api:hook(event, handler) stub.hosts[self.host].hooks[event] = handler; end
	return api;
end

function stub.add_host(host)
	prosody.hosts[host] = { host = host, type = "local", sessions = {}, modules = {} };
	local api = new_api(host);
	stub.hosts[host] = { hooks = {}, api = api };
	_G.module.add_host(api);
	return stub.hosts[host];
end

-- Load the module in `folder` for example.com; what was loaded before is of no account any more.
function stub.load(folder)
	stub.folder = folder;
	_G.module = new_api("*");
	_G.prosody = {
		hosts = {}, start_time = 1;
		core_post_stanza = function (origin, stanza) table.insert(stub.posted, { origin, stanza, in_coroutine() }); end;
	};
	assert(loadfile(folder .. "/mod_auth_extauth_bridge.lua"))();
	local host = stub.add_host("example.com");
	stub.provider, stub.hooks, stub.module = host.provider, host.hooks, host.api;
end

return stub;
