-- mod_auth_extauth_bridge: Prosody's users are those of the shared daemon of extauth-bridge.
--
-- Lines go to the daemon's Unix socket, all on one connection; answers come back in the order of the lines.
--   * Nothing here blocks: who asks is suspended (util.async), the server goes on.
--   * An answer counts only if the daemon keeps to the letter: one digit and a line end for each line that was
--     sent, in time, and nothing while nothing is asked. At anything else and at a disconnect the connection is
--     closed, what was sent on it is unavailable, and what may still be said on it dies with it.
--   * A line is given to the kernel whole or not at all: the first part of one, cut off by a close, could be a
--     password that nobody chose. On Linux that holds for a Unix socket up to 8 KiB, LuaSocket's piece.
--   * What cannot be asked is never granted.
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

local HELLO = "extauth-bridge:answers:3\n"; -- asks for a third answer, 2: nobody could be asked
local MAX_LINE = 4096; -- bytes, the daemon's default; without the line end
local WINDOW = 192; -- lines in flight: below the daemon's window of 256, so it always reads on
local MAX_WAITING = 2048; -- lines not yet sent: at most 8 MiB
local GRACE = math.min(2, timeout / 2); -- seconds a daemon may be away before it counts as down: a restart
local AGAIN_FIRST, AGAIN_MOST = 0.05, 1; -- seconds between attempts to connect
local CROWDED = 0.01; -- seconds until a full queue (of connections, of bytes) is tried again
local PROMPT = 0.1; -- seconds: a query that was sent so soon did not have to wait
local READ = 8192; -- bytes: many times what WINDOW answers take

-- Queues, first in first out ----------------------------------------------------------------------------------

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

-- The line that asks, or nil and why there is none. The secret may hold colons, user and host may not.
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

-- A query is { line, deadline, late_at, verdict, done }. The verdict "granted", "denied" or "unavailable" is set
-- once, at the deadline at the latest; from late_at on the daemon is in doubt. That is later for a query that
-- had to wait here before it was sent: its answer, if there still is one, is for nobody.
local waiting = new_queue(); -- queries not yet sent
local settled = new_queue(); -- queries whose askers are to be woken
local link; -- { socket, unwatch, sent = queries without answer, half = an answer without its line end, third }
local connect_at = 0; -- not before
local failures = 0; -- since the last good answer
local down_since, lost_at; -- the first and the last of them
local unanswered = 0; -- queries, since the daemon was lost
local crowded = false; -- the kernel takes no more bytes at the moment
local stopped = false; -- the module is unloaded
local timer_id, timer_at;
local arm; -- function

local function settle(query, verdict)
	if query.verdict then return; end
	query.verdict = verdict;
	if query.done then push(settled, query); end
end

-- Wake who has a verdict. Only from the main loop, so that askers are never resumed by one another.
local function deliver()
	while length(settled) > 0 do
		local ok, err = xpcall(pop(settled).done, traceback);
		if not ok then module:log("error", "Error while waking a query: %s", err); end
	end
end

local function give_up(queue)
	local count = 0;
	while length(queue) > 0 do
		local query = pop(queue);
		if query.line ~= HELLO and not query.verdict then count = count + 1; end
		settle(query, "unavailable");
	end
	unanswered = unanswered + count;
	return count;
end

-- Close the connection; what was sent on it is unavailable.
local function hang_up()
	if not link then return 0; end
	local gone = link;
	link, crowded = nil, false;
	gone.unwatch();
	gone.socket:close();
	return give_up(gone.sent);
end

-- The daemon cannot be reached, or is not to be believed any more. Back off; log it once.
local function lose(reason)
	local known = unanswered > 0;
	local now = monotonic();
	local lost = hang_up();
	if failures > 0 then
		connect_at = now + math.min(AGAIN_MOST, AGAIN_FIRST * 2 ^ math.min(failures - 1, 10)) * (0.75 + math.random() / 4);
	end
	failures = failures + 1;
	if not lost_at or now - lost_at > GRACE + AGAIN_MOST then down_since = now; end
	lost_at = now;
	if now - down_since >= GRACE then lost = lost + give_up(waiting); end
	if lost > 0 and not known then
		module:log("warn", "The daemon at %s %s; unanswered so far: %d", socket_path, reason, lost);
	end
end

local function answered()
	failures, lost_at = 0, nil;
	if unanswered > 0 then
		module:log("info", "The daemon answers again; queries without an answer meanwhile: %d", unanswered);
		unanswered = 0;
	end
end

-- Take in what the daemon said. Returns why it cannot be believed, if so; then nothing of it counts.
local function take(data)
	local heard, sent, third = link.half .. data, link.sent, link.third;
	local count = math.floor(#heard / 2);
	if count + #heard % 2 > length(sent) then return "said what nobody asked for"; end
	local number = sent.first;
	for digit, line_end in heard:gmatch("(.)(.?)") do
		local known = digit == "0" or digit == "1" or (digit == "2" and third);
		if not known or (line_end ~= "\n" and line_end ~= "") then return "said what is no answer"; end
		if sent[number].line == HELLO then third = digit == "1"; end
		number = number + 1;
	end
	for position = 1, count * 2, 2 do
		local digit, query = heard:sub(position, position), pop(sent);
		if query.line == HELLO then
			link.third = digit == "1";
		else
			settle(query, digit == "1" and "granted" or digit == "0" and "denied" or "unavailable");
			answered();
		end
	end
	link.half = heard:sub(count * 2 + 1);
end

local function receive()
	local data, err, partial = link.socket:receive(READ);
	data = data or partial or "";
	local doubt = data ~= "" and take(data);
	if doubt then
		lose(doubt);
	elseif err and err ~= "timeout" then
		if length(link.sent) > 0 then lose("closed the connection"); else hang_up(); end -- its right when idle
	end
end

local function send_line(query)
	local last, err, part = link.socket:send(query.line);
	if last == #query.line then
		query.late_at = math.max(query.deadline, monotonic() + timeout - PROMPT);
		push(link.sent, query);
		return true;
	end
	crowded = err == "timeout" and part == 0;
	if not crowded then lose("does not take the question: " .. tostring(err)); end
	return false;
end

-- Call `readable` whenever there is something to read; returns how to end that.
local function watch(socket, readable)
	local handle = server.watchfd(socket:getfd(), function ()
		local ok, err = xpcall(readable, traceback);
		if not ok then
			module:log("error", "Error while reading answers: %s", err);
			lose("could not be understood");
			arm();
		end
	end);
	return function ()
		if handle.close then handle:close(); else handle:setflags(false); end
	end
end

-- Whether there is a connection now.
local function connect()
	if monotonic() < connect_at then return false; end
	local socket, err = new_socket();
	if not socket then
		lose("cannot be reached: " .. tostring(err));
		return false;
	end
	socket:settimeout(0);
	local ok;
	ok, err = socket:connect(socket_path);
	if not ok then
		socket:close();
		if err == "timeout" then -- it is there, with too many before us
			connect_at = monotonic() + CROWDED;
		else
			lose("cannot be reached: " .. tostring(err));
		end
		return false;
	end
	link = { socket = socket, sent = new_queue(), half = "", third = false };
	link.unwatch = watch(socket, function ()
		if link and link.socket == socket then
			receive();
			deliver();
			arm();
		end
	end);
	return send_line({ line = HELLO, deadline = head(waiting).deadline });
end

-- Send what waits, as far as there is room.
local function flush()
	while length(waiting) > 0 and (link or connect()) and length(link.sent) < WINDOW do
		local query = head(waiting);
		if query.verdict or send_line(query) then
			pop(waiting);
		elseif crowded then
			return;
		end
	end
end

local function expire(now)
	local oldest = link and head(link.sent);
	if oldest and oldest.late_at <= now then lose("gave no answer in time"); end
	local lost = 0;
	for _, queue in ipairs({ link and link.sent or waiting, waiting }) do
		for number = queue.first, queue.last do
			local query = queue[number];
			if query.deadline > now then break; end
			if query.line ~= HELLO and not query.verdict then lost = lost + 1; end
			settle(query, "unavailable");
		end
	end
	while length(waiting) > 0 and head(waiting).verdict do pop(waiting); end
	if lost > 0 and unanswered == 0 then
		module:log("warn", "The daemon at %s is too slow; unanswered so far: %d", socket_path, lost);
	end
	unanswered = unanswered + lost;
end

-- When something is to be done about one of these queries by itself.
local function earliest(queue)
	local due = length(queue) > 0 and head(queue).late_at or math.huge;
	for number = queue.first, queue.last do
		if not queue[number].verdict then return math.min(due, queue[number].deadline); end
	end
	return due;
end

local function tick()
	timer_id, timer_at = nil, nil;
	expire(monotonic());
	crowded = false;
	flush();
	deliver();
	arm();
end

-- See that `tick` comes when it has something to do: one timer, whatever the number of queries.
function arm()
	if not stopped and not crowded then flush(); end
	local now, due = monotonic(), link and earliest(link.sent) or math.huge;
	if length(waiting) > 0 then
		due = math.min(due, earliest(waiting));
		if not link then due = math.min(due, connect_at); elseif crowded then due = math.min(due, now + CROWDED); end
	end
	if length(settled) > 0 then due = now; end
	if due == math.huge or (timer_at and timer_at <= due) then return; end
	if timer_id then timer.stop(timer_id); end
	timer_at = due;
	timer_id = timer.add_task(math.max(0, due - now), function () tick(); end);
end

local function can_wait()
	return async.ready() and (not coroutine.isyieldable or coroutine.isyieldable());
end

-- Returns "granted", "denied", "unavailable", or "refused" (it was not asked) and why.
local function ask(command, user, secret)
	if not commands:contains(command) then return "refused", command .. " is not in extauth_bridge_commands"; end
	local line, refusal = compose(command, user, secret);
	if not line then
		module:log("info", "Query '%s' not sent: %s", command, refusal);
		return "refused", refusal;
	end
	if stopped then return "unavailable"; end
	if not can_wait() then
		module:log("debug", "Query '%s' not sent: nobody can wait for its answer here", command);
		return "unavailable";
	end
	if length(waiting) >= MAX_WAITING then
		if unanswered == 0 then module:log("warn", "More than %d queries wait for the daemon", MAX_WAITING); end
		unanswered = unanswered + 1;
		return "unavailable";
	end
	if link and length(link.sent) == 0 then receive(); end -- what is there now answers nothing that we ask
	local query = { line = line, deadline = monotonic() + timeout };
	push(waiting, query);
	arm();
	if not query.verdict then
		local wait, done = async.waiter();
		query.done = done;
		wait();
		query.done = nil;
		settle(query, "unavailable"); -- woken by somebody else: nobody knows
	end
	return query.verdict;
end

function module.unload()
	stopped = true;
	hang_up();
	give_up(waiting);
	arm();
end

-- The provider ------------------------------------------------------------------------------------------------

local UNAVAILABLE = "The authentication service is not available at the moment";

-- true, or nil and why not.
local function ask_for(command, user, secret)
	local verdict, refusal = ask(command, user, secret);
	if verdict == "granted" then return true; end
	return nil, verdict == "unavailable" and UNAVAILABLE or refusal or "Refused by the authentication service";
end

local provider = {};

function provider.test_password(user, password)
	return ask_for("auth", user, password or "");
end

function provider.user_exists(user)
	return ask_for("isuser", user);
end

function provider.set_password(user, password)
	return ask_for("setpass", user, password or "");
end

function provider.create_user(user, password)
	return ask_for("tryregister", user, password or "");
end

function provider.delete_user(user)
	return ask_for("removeuser", user);
end

-- SASL PLAIN knows only right and wrong; "nobody could be asked" is told past it.
local function tell_unavailable(handler)
	local process, clean_clone = handler.process, handler.clean_clone;
	function handler:process(message)
		local status, condition, text = process(self, message);
		if status == "failure" and self.extauth_bridge_unavailable then
			return "failure", "temporary-auth-failure", UNAVAILABLE;
		end
		return status, condition, text;
	end
	function handler:clean_clone()
		return tell_unavailable(clean_clone(self));
	end
	return handler;
end

function provider.get_sasl_handler()
	return tell_unavailable(new_sasl(host, {
		plain_test = function (handler, user, password)
			local verdict = ask("auth", user, password);
			handler.extauth_bridge_unavailable = verdict == "unavailable";
			return verdict == "granted", true;
		end;
	}));
end

module:provides("auth", provider);

-- Stanzas of components --------------------------------------------------------------------------------------

-- Stanzas from clients and other servers are handled where one may wait (util.async). Those of components and
-- of this server's own modules are not, and whether the user they are for exists would be unknown: a gateway's
-- message to somebody who is offline would come back. So those are handed to a runner of ours, in their order.

local MAX_HELD = 1000; -- stanzas of one origin that wait; more are handled at once, with nobody being asked
local runners = setmetatable({}, { __mode = "k" }); -- by origin

local function handle(held)
	prosody.core_post_stanza(held.origin, held.stanza);
end

local watchers = {
	error = function (_, err)
		module:log("error", "Error while handling a stanza: %s", err);
	end;
};

local function hold(event)
	local origin, stanza = event.origin, event.stanza;
	if stopped or async.ready() or (origin.type ~= "component" and origin.type ~= "local") then return; end
	origin = prosody.hosts[origin.host] or origin; -- a component's connection may be gone when it is its turn
	local runner = runners[origin];
	local user = jid.node(stanza.attr.to);
	local idle = not runner or runner.state == "ready";
	if not user or (idle and prosody.hosts[host].sessions[user]) then return; end -- is there, need not be asked for
	if not runner then
		runner = async.runner(handle, watchers);
		runners[origin] = runner;
	end
	if #runner.queue >= MAX_HELD then return; end
	runner:run({ origin = origin, stanza = st.clone(stanza) }); -- its sender may change and reuse it
	return true;
end

for _, event in ipairs({ "message/bare", "message/full", "presence/bare", "iq/bare" }) do
	module:hook(event, hold, 1000000);
end
