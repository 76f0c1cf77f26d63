-- mod_auth_extauth_bridge: authenticates Prosody's users through the shared daemon of extauth-bridge.
--
-- Lines go to the daemon's Unix socket, all on one connection; answers come back in the order of the lines.
--   * Nothing here blocks: the asker is suspended (util.async), and the server goes on.
--   * An answer counts only if the daemon follows the protocol exactly: one digit and a line end for each line
--     sent, in time, and nothing while nothing is asked. At anything else, or a disconnect, the connection is
--     closed: queries sent on it are unavailable, and whatever the daemon may still send is lost with it.
--   * Only whole lines are sent: part of one, cut off by a close, could be a password that nobody chose. On
--     Linux a Unix socket takes up to 8 KiB, which LuaSocket sends at once, whole or not at all.
--   * A query that cannot be asked is never granted.
--   * No line, no secret, no user name is ever logged.
--
-- For Lua 5.1 to 5.4 and Prosody 0.11 to 13. Licence: MIT.

local async = require "util.async";
local jid = require "util.jid";
local monotonic = require "util.time".monotonic or require "util.time".now;
local new_sasl = require "util.sasl".new;
local server = require "net.server";
local st = require "util.stanza";
local timer = require "util.timer";
local traceback = debug.traceback;
local unix = require "socket.unix";
local valid_utf8 = require "util.encodings".utf8.valid;
local new_socket = type(unix) == "function" and unix or unix.stream;

local host = module.host;
local socket_path = module:get_option_string("extauth_bridge_socket", "/run/extauth-bridge/auth.sock");
local timeout = module:get_option_number("extauth_bridge_timeout", 5);
local commands = module:get_option_set("extauth_bridge_commands", { "auth", "isuser", "setpass" });

if not (timeout > 0 and timeout < 86400) then
	module:log("error", "extauth_bridge_timeout must be a number of seconds above 0; taking 5");
	timeout = 5;
end
for command in commands:items() do
	if not ("auth isuser setpass tryregister removeuser"):find(command, 1, true) then
		module:log("error", "extauth_bridge_commands: unknown command '%s'", command);
	end
end

local HELLO = "extauth-bridge:answers:3\n"; -- requests a third answer, 2: no program could be asked
local VERDICTS = { ["0"] = "denied", ["1"] = "granted", ["2"] = "unavailable" };
local MAX_LINE = 4096; -- bytes, the daemon's default; without the line end
local WINDOW = 192; -- lines in flight: below the daemon's window of 256, so that it never stops reading
local MAX_WAITING = 2048; -- lines not yet sent: at most 8 MiB
local GRACE = math.min(2, timeout / 2); -- seconds a daemon may be away, for a restart, before it counts as down
local AGAIN_FIRST, AGAIN_MOST = 0.05, 1; -- seconds between attempts to connect
local TICK = 0.02; -- seconds between checks of deadlines and unsent lines, while a query is open
local READ = 8192; -- bytes: many times what WINDOW answers take
-- A descriptor from here up would break Prosody's whole main loop where that is select(2).
local DESCRIPTORS = server.get_backend() == "select" and require "socket"._SETSIZE or math.huge;

-- FIFO queues ----------------------------------------------------------------------------------

local function new_queue()
	return { first = 1, last = 0 };
end

local function length(queue)
	return queue.last - queue.first + 1;
end

local function push(queue, item)
	queue.last = queue.last + 1;
	queue[queue.last] = item;
end

local function head(queue)
	return queue[queue.first];
end

local function pop(queue)
	local item = queue[queue.first];
	queue[queue.first] = nil;
	queue.first = queue.first + 1;
	return item;
end

-- Lines -------------------------------------------------------------------------------------------------------

-- The line for a query, or nil and the reason why there is none. The secret may hold colons; user and host may not.
local function compose(command, user, secret)
	local fields = { command, user, host, secret };
	for number = 2, secret == nil and 3 or 4 do
		local field = fields[number];
		if type(field) ~= "string" or field == "" then return nil, "empty field"; end
		if field:find("[%z\1-\31\127]") or field:find("\194[\128-\159]") then return nil, "control character"; end
		if not valid_utf8(field) then return nil, "not valid UTF-8"; end
		if number < 4 and field:find(":", 1, true) then return nil, "colon in a name"; end
	end
	local line = table.concat(fields, ":");
	if #line > MAX_LINE then return nil, "too long"; end
	return line .. "\n";
end

-- The connection ----------------------------------------------------------------------------------------------

-- A query is { line, deadline, late_at, ahead, verdict, done }. The verdict "granted", "denied" or "unavailable" is
-- set once, by the deadline at the latest; a later answer is dropped. From late_at on, the daemon is late with it: that
-- is after the deadline if the query had to wait here before it was sent. `ahead`: queries on the connection before it.
local waiting = new_queue(); -- queries not yet sent
local settled = new_queue(); -- queries whose askers are to be woken
local link; -- { socket, close, sent = unanswered queries, went_on, half = an answer without its line end, third }
-- went_on: when the daemon last answered, or when it was asked after having been idle
local connect_at = 0; -- no attempt before
local failures = 0; -- since the last valid answer
local down_since, lost_at; -- the first and the last of them
local unanswered = 0; -- queries, since the daemon was lost
local complained = false; -- the failure was logged
local ticking = false; -- the next tick is scheduled
local stopped = false; -- the module is unloaded

-- Wake the askers that have a verdict. Only from the main loop, so that askers never resume each other.
local function deliver()
	while length(settled) > 0 do
		local done = pop(settled).done;
		local ok, err = true, nil;
		if done then ok, err = xpcall(done, traceback); end
		if not ok then module:log("error", "Error while waking a query: %s", err); end
	end
end

local function settle(query, verdict)
	if query.verdict then return; end
	query.verdict = verdict;
	if not query.done then return; end
	if length(settled) == 0 then timer.add_task(0, deliver); end
	push(settled, query);
end

-- Settle a query without an answer.
local function fail(query)
	if query.verdict or query.line == HELLO then return; end
	unanswered = unanswered + 1;
	settle(query, "unavailable");
end

local function give_up(queue)
	while length(queue) > 0 do fail(pop(queue)); end
end

-- Log that queries fail: once, until the daemon answers again.
local function complain(reason)
	if complained or unanswered == 0 then return; end
	complained = true;
	module:log("warn", "The daemon at %s %s; unanswered so far: %d", socket_path, reason, unanswered);
end

-- End the connection; queries sent on it are unavailable. The socket is closed a moment later, see `open`.
local function hang_up()
	local gone = link;
	if not gone then return; end
	link = nil;
	give_up(gone.sent);
	timer.add_task(0, gone.close);
end

-- The daemon cannot be reached, or cannot be trusted any more. Back off.
local function lose(reason)
	local now = monotonic();
	hang_up();
	if failures > 0 then
		connect_at = now + math.min(AGAIN_MOST, AGAIN_FIRST * 2 ^ math.min(failures - 1, 10)) * (0.75 + math.random() / 4);
	end
	failures = failures + 1;
	if not lost_at or now - lost_at > GRACE + AGAIN_MOST then down_since = now; end
	lost_at = now;
	if now - down_since >= GRACE then give_up(waiting); end
	complain(reason);
end

local function answered()
	failures, lost_at = 0, nil;
	if complained then
		module:log("info", "The daemon answers again; queries without an answer meanwhile: %d", unanswered);
	end
	unanswered, complained = 0, false;
end

-- Process what the daemon sent. Returns why it cannot be trusted, if so; then none of it counts.
local function take(data)
	local heard, sent = link.half .. data, link.sent;
	local oldest = head(sent);
	if oldest and oldest.line == HELLO then link.third = heard:sub(1, 1) == "1"; end
	local digit, size = link.third and "^[012]" or "^[01]", 0;
	while heard:find(digit .. "\n", size + 1) do size = size + 2; end
	local half = heard:sub(size + 1);
	if half ~= "" and not half:find(digit .. "$") then return "said what is no answer"; end
	if size / 2 + #half > length(sent) then return "said what nobody asked for"; end
	link.half = half;
	local now = monotonic();
	for answer in heard:sub(1, size):gmatch("(.)\n") do
		local query = pop(sent);
		link.went_on = now;
		if query.deadline <= now then -- perhaps the answer was in time, but we were not
			fail(query);
		elseif query.line ~= HELLO then
			settle(query, VERDICTS[answer]);
			answered();
		end
	end
end

local function receive()
	local data, err, partial = link.socket:receive(READ);
	data = data or partial or "";
	local doubt = data ~= "" and take(data);
	if doubt then
		lose(doubt);
	elseif err and err ~= "timeout" then
		if length(link.sent) > 0 then lose("closed the connection"); else hang_up(); end -- fine while idle
	end
end

local function send_line(query)
	local last, err, part = link.socket:send(query.line);
	if last == #query.line then
		local now = monotonic();
		query.late_at = now + timeout;
		query.ahead = length(link.sent);
		if query.ahead == 0 then link.went_on = now; end
		push(link.sent, query);
		return true;
	end
	-- If there is no room for any of it, the next tick tries again.
	if err ~= "timeout" or part ~= 0 then lose("does not take the question: " .. tostring(err)); end
	return false;
end

local attend; -- function

-- Make this the connection. When we drop one, the main loop may already have found it readable in the same iteration,
-- and does not expect its handler to be gone: so the socket is closed when the loop reports it, or at the end of that
-- iteration, which comes after everything readable was handled.
local function open(socket)
	local this, watch = { socket = socket, sent = new_queue(), half = "" }, nil;
	function this.close()
		if not watch then return; end
		if watch.close then watch:close(); else watch:setflags(false); end
		watch = nil;
		socket:close();
	end
	watch = server.watchfd(socket:getfd(), function ()
		if link ~= this then return this.close(); end
		local ok, err = xpcall(attend, traceback);
		if not ok then
			module:log("error", "Error while reading answers: %s", err);
			lose("could not be understood");
		end
		deliver();
	end);
	link = this;
end

-- Whether there is a connection now.
local function connect()
	if monotonic() < connect_at then return false; end
	local socket, err = new_socket();
	local ok = socket;
	if socket then
		socket:settimeout(0);
		ok, err = socket:connect(socket_path);
		if ok and socket:getfd() >= DESCRIPTORS then ok, err = nil, "too many open files"; end
		if not ok then socket:close(); end
	end
	if ok then
		open(socket);
		return send_line({ line = HELLO, deadline = math.huge });
	elseif err == "timeout" then -- it listens, but its backlog is full
		connect_at = monotonic() + TICK;
	else
		lose("cannot be reached: " .. tostring(err));
	end
	return false;
end

-- How many lines may be on the connection now. If the daemon's window is smaller than ours, lines wait there unread,
-- and the oldest may be late although the daemon makes progress. Then it is as many as were answered while that one
-- waited: that many can be answered in time.
local function room(now)
	local oldest = link and head(link.sent);
	return oldest and oldest.late_at <= now and oldest.ahead or WINDOW;
end

-- Drop a daemon that makes no progress, or that was sent more than it can answer in time: the next query then does not
-- queue behind those that will be late anyway.
local function check_progress(now)
	if not (link and head(link.sent)) then return; end
	if link.went_on + timeout <= now then
		lose("gave no answer in time");
	elseif length(link.sent) > room(now) then
		lose("is too slow");
		give_up(waiting);
	end
end

-- Queries past their deadline are unavailable.
local function expire()
	local now = monotonic();
	check_progress(now);
	for _, queue in ipairs({ waiting, link and link.sent }) do
		for number = queue.first, queue.last do
			local query = queue[number];
			if query.line ~= HELLO and query.deadline > now then break; end
			fail(query);
		end
	end
	while length(waiting) > 0 and head(waiting).verdict do pop(waiting); end
	complain("is too slow");
end

local function keep_time()
	if ticking or (length(waiting) == 0 and not (link and head(link.sent))) then return; end
	ticking = true;
	timer.add_task(TICK, function ()
		ticking = false;
		keep_time();
		if link then receive(); end -- first: the daemon may have been in time when we were not
		expire();
		attend();
	end);
end

-- Process answers, then send waiting lines as far as there is room. What arrived before a line is sent is not an
-- answer to it.
function attend()
	if link then receive(); end
	local now = monotonic();
	while length(waiting) > 0 and (link or connect()) and length(link.sent) < room(now) do
		local query = head(waiting);
		if query.deadline <= now then fail(query); end
		if not query.verdict and not send_line(query) then break; end
		pop(waiting);
	end
	keep_time();
end

-- Returns "granted", "denied", "unavailable", or "refused" (not asked) and why.
local function ask(command, user, secret)
	if not commands:contains(command) then return "refused", command .. " is not in extauth_bridge_commands"; end
	local line, refusal = compose(command, user, secret);
	if not line then
		module:log("info", "Query '%s' not sent: %s", command, refusal);
		return "refused", refusal;
	end
	if stopped then return "unavailable"; end
	if not async.ready() or (coroutine.isyieldable and not coroutine.isyieldable()) then
		module:log("debug", "Query '%s' not sent: nobody can wait for its answer here", command);
		return "unavailable";
	end
	local query = { line = line, deadline = monotonic() + timeout };
	if length(waiting) < MAX_WAITING then
		push(waiting, query);
		attend();
	else
		fail(query);
		complain("is too slow for so many queries");
	end
	if not query.verdict then
		local wait, done = async.waiter();
		query.done = done;
		wait();
		query.done = nil;
		settle(query, "unavailable"); -- if something else woke us
	end
	return query.verdict;
end

function module.unload()
	stopped = true;
	hang_up();
	give_up(waiting);
	deliver(); -- now: the host may be gone a moment later
end

-- The provider ------------------------------------------------------------------------------------------------

local UNAVAILABLE = "The authentication service is not available at the moment";

-- true, or nil and why not.
local function ask_for(command, user, secret)
	local verdict, refusal = ask(command, user, secret);
	if verdict == "granted" then return true; end
	return nil, verdict == "unavailable" and UNAVAILABLE or refusal or "Refused by the authentication service";
end

local provider = {
	test_password = function (user, password) return ask_for("auth", user, password or ""); end;
	user_exists = function (user) return ask_for("isuser", user); end;
	set_password = function (user, password) return ask_for("setpass", user, password or ""); end;
	create_user = function (user, password) return ask_for("tryregister", user, password or ""); end;
	delete_user = function (user) return ask_for("removeuser", user); end;
};

-- SASL PLAIN knows only right and wrong; "unavailable" is reported past it.
function provider.get_sasl_handler()
	local handler = new_sasl(host, {
		plain_test = function (handler, user, password)
			local verdict = ask("auth", user, password);
			handler.extauth_bridge_unavailable = verdict == "unavailable";
			return verdict == "granted", true;
		end;
	});
	local process = handler.process;
	function handler:process(message)
		local status, condition, text = process(self, message);
		if status == "failure" and self.extauth_bridge_unavailable then
			return "failure", "temporary-auth-failure", UNAVAILABLE;
		end
		return status, condition, text;
	end
	handler.clean_clone = provider.get_sasl_handler;
	return handler;
end

module:provides("auth", provider);

-- Stanzas of components --------------------------------------------------------------------------------------

-- Stanzas from clients and other servers are handled where code may wait (util.async). Those from components and
-- from this server's own modules are not, so we could not find out whether their user exists: a gateway's message
-- to somebody offline would bounce. So those are handed to runners of ours: one at a time for each origin and user,
-- so that they keep their order, and several users' at once.

local MAX_HELD = 1000; -- stanzas in the queues; any more are handled immediately, without asking
local AT_ONCE = 32; -- stanzas being handled; a flood of them must leave the daemon time for logins
local lines = {}; -- queues of stanzas, by origin and user
local standing = new_queue(); -- those of `lines` of which no stanza is being handled
local held, busy = 0, 0; -- stanzas queued or being handled; those being handled
local handle_more; -- function

local function handled(line)
	held, busy = held - 1, busy - 1;
	if length(line) > 0 then push(standing, line); else lines[line.key] = nil; end
	timer.add_task(0, function () handle_more(); end);
end

local function handle_one(line)
	local stanza = pop(line);
	if prosody.hosts[host] then prosody.core_post_stanza(line.origin, stanza); end -- unless the host has gone meanwhile
	handled(line);
end

local watchers = {
	error = function (runner, err)
		module:log("error", "Error while handling a stanza: %s", err);
		handled(runner.data);
	end;
};

function handle_more()
	while length(standing) > 0 and busy < AT_ONCE do
		local line = pop(standing);
		busy = busy + 1;
		async.runner(handle_one, watchers, line):run(line);
	end
end

local function hold(event)
	local origin, stanza = event.origin, event.stanza;
	if stopped or async.ready() or (origin.type ~= "component" and origin.type ~= "local") then return; end
	local user = jid.node(stanza.attr.to);
	if not user or held >= MAX_HELD then return; end
	local key = tostring(origin.host) .. " " .. user;
	local line = lines[key];
	if not line then
		if prosody.hosts[host].sessions[user] then return; end -- online, so the user exists
		line = new_queue();
		line.key, line.origin = key, prosody.hosts[origin.host] or origin; -- its connection may be gone by then
		lines[key] = line;
		push(standing, line);
	end
	push(line, st.clone(stanza)); -- its sender may change and reuse it
	held = held + 1;
	handle_more();
	return true;
end

for _, event in ipairs({ "message/bare", "message/full", "presence/bare", "iq/bare" }) do
	module:hook(event, hold, 1000000);
end
