-- Stanzas to users who are offline, and who of them exists. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, granted = tools.same, tools.last, tools.granted;
local both = scenarios.both;

function both.stanzas_of_components_are_handled_where_one_may_wait()
	local gateway = { host = "gw.example.com", type = "component" };
	local reused = stub.stanza("message", "alice@example.com", "hello");
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), true);
	reused.attr.to = "bob@example.com";
	same(stub.posted[1][2].attr.to, "alice@example.com");
	same(stub.posted[1][3], true);
	prosody.hosts["example.com"].sessions.bob = {};
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), nil); -- he is there
	local iq = stub.stanza("iq", "x@example.com");
	same(stub.hooks["iq/bare"]({ origin = { type = "c2s" }, stanza = iq }), nil);
	same(stub.run(function () return stub.hooks["iq/bare"]({ origin = gateway, stanza = iq }); end).result[1], nil);
end

local gateway = { host = "gw.example.com", type = "component" };

local function arrives(to, text, origin)
	local stanza = stub.stanza("message", to, text, "headline");
	return stub.hooks["message/bare"]({ origin = origin or gateway, stanza = stanza });
end

-- Where stanzas are handled: they wait there, until they go on in the main loop.
local function waiting_room()
	local room = {};
	prosody.core_post_stanza = function (_, stanza)
		table.insert(stub.posted, stanza[1]);
		room[stanza[1]] = coroutine.running();
		coroutine.yield();
	end
	function room.leave(text)
		assert(coroutine.resume(room[text]));
		stub.pass(0);
	end
	return room;
end

function both.stanzas_keep_their_order()
	local room = waiting_room();
	same(arrives("alice@example.com", "a1"), true);
	prosody.hosts["example.com"].sessions.alice = {}; -- who came meanwhile; but others wait before it
	same(arrives("alice@example.com", "a2"), true);
	same(arrives("alice@example.com/phone", "a3"), true);
	same(table.concat(stub.posted, " "), "a1");
	room.leave("a1");
	same(table.concat(stub.posted, " "), "a1 a2");
	room.leave("a2");
	same(arrives("alice@example.com", "a4"), true);
	room.leave("a3");
	room.leave("a4");
	same(table.concat(stub.posted, " "), "a1 a2 a3 a4");
	same(arrives("alice@example.com", "a5"), nil); -- nothing is in line any more
	same(arrives("carol@example.com", "c1", { type = "local" }), true);
end

function both.one_users_stanzas_hold_up_nobody_elses()
	local room = waiting_room();
	arrives("alice@example.com", "a1");
	arrives("alice@example.com", "a2");
	arrives("bob@example.com", "b1");
	arrives("alice@example.com", "other", { host = "other.example.com", type = "component" });
	same(table.concat(stub.posted, " "), "a1 b1 other");
	room.leave("b1");
	arrives("bob@example.com", "b2");
	same(table.concat(stub.posted, " "), "a1 b1 other b2");
	room.leave("a1");
	same(stub.posted[5], "a2");
end

function both.a_stanza_that_breaks_holds_up_none_behind_it()
	prosody.core_post_stanza = function (_, stanza)
		table.insert(stub.posted, stanza[1]);
		error("broken");
	end
	for number = 1, 40 do arrives("alice@example.com", "a" .. number); end
	stub.pass(0);
	same(#stub.posted, 40);
	same(#stub.logged, 40);
	same(stub.timers(), 0);
end

function both.a_flood_of_stanzas_is_bounded()
	local room = waiting_room();
	for number = 1, 1000 do same(arrives("u" .. number % 500 .. "@example.com", number), true); end
	same(#stub.posted, 32); -- so that there is time for logins in between
	same(arrives("v@example.com", "v"), nil);
	same(arrives("v@example.com", "v", { host = "other.example.com", type = "component" }), nil);
	room.leave(1);
	same(#stub.posted, 33);
	same(arrives("v@example.com", "v"), true);
	local number = 1;
	while stub.posted[number] do
		if number > 1 then room.leave(stub.posted[number]); end
		number = number + 1;
	end
	same(#stub.posted, 1001);
	for user = 0, 499 do prosody.hosts["example.com"].sessions["u" .. user] = {}; end
	for user = 0, 499 do same(arrives("u" .. user .. "@example.com", "late"), nil); end -- every line is gone
end

function both.what_waits_when_the_host_goes_goes_with_it()
	local room = waiting_room();
	for _, text in ipairs({ "a1", "a2", "a3" }) do arrives("alice@example.com", text); end
	stub.module.unload();
	prosody.hosts["example.com"] = nil;
	room.leave("a1");
	same(#stub.posted, 1);
	same(#stub.logged, 0);
	same(stub.timers(), 0);
end

-- A client whose presence goes to its contacts.
local client = { type = "c2s", host = "example.com", full_jid = "me@example.com/phone" };

local function tells(to, text, kind)
	local stanza = stub.stanza("presence", to, text, kind);
	return stub.hooks["presence/bare"]({ origin = client, stanza = stanza }), stanza;
end

function both.a_clients_presence_for_offline_contacts_holds_it_up_at_nobody()
	local room = waiting_room();
	local task = stub.run(function ()
		for number = 1, 100 do
			local held, stanza = tells("u" .. number .. "@example.com", number);
			same(held, true);
			stanza.attr.to = nil; -- the same one goes to all
		end
		same(#stub.posted, 0);
		return "over";
	end);
	same(task.result[1], "over");
	same(#stub.posted, 32);
	for number = 1, 100 do room.leave(number); end
	same(#stub.posted, 100);
end

function both.many_of_them_leave_the_main_loop_time_for_others()
	local turns = {};
	prosody.core_post_stanza = function ()
		turns[stub.turns] = (turns[stub.turns] or 0) + 1;
		table.insert(stub.posted, stub.turns);
	end
	stub.run(function ()
		for number = 1, 500 do tells("u" .. number .. "@example.com", number); end
	end);
	same(#stub.posted, 500);
	for _, count in pairs(turns) do assert(count <= 8, count); end
end

function both.what_else_it_sends_to_one_of_them_keeps_its_place()
	local room = waiting_room();
	stub.run(function ()
		tells("bob@example.com", "here");
		tells("bob@example.com", "gone", "unavailable");
		arrives("bob@example.com", "hello", client);
		same(arrives("carol@example.com", "hello", client), nil);
	end);
	tells("bob@example.com/x", "back"); -- outside of any task, as when a connection breaks
	for _, text in ipairs({ "here", "gone", "hello", "back" }) do
		same(stub.posted[#stub.posted], text);
		room.leave(text);
	end
	same(#stub.posted, 4);
end

function both.who_is_known_is_not_waited_for()
	local exists, unknown = stub.run(stub.provider.user_exists, "bob"), stub.run(stub.provider.user_exists, "nobody");
	last():answers("1", "0");
	same(granted(exists), true);
	same(granted(unknown), false);
	stub.run(function ()
		same(tells("bob@example.com", "here"), nil);
		same(tells("nobody@example.com", "here"), nil);
	end);
	same(arrives("bob@example.com", "hello"), nil);
	same(#last().lines, 2);
end

-- While nobody knows.
local function refused(name, kind, stanza)
	local said = {};
	local origin = { type = "s2sin", send = function (reply) table.insert(said, reply); end };
	local task = stub.run(function ()
		stanza = stub.stanza(name, "bob@example.com", "x", kind);
		return stub.hooks[name .. "/bare"]({ origin = origin, stanza = stanza });
	end);
	return task, said;
end

function both.what_nobody_knows_comes_back_to_be_sent_again()
	stub.refuse = "connection refused";
	for name, kinds in pairs({ message = { "chat", "normal", false }, presence = { "subscribe", "unsubscribed" } }) do
		for _, kind in ipairs(kinds) do
			local task, said = refused(name, kind or nil);
			stub.pass(3);
			same(task.result[1], true);
			same(#said, 1);
			same(said[1].error, "wait resource-constraint");
		end
	end
	for name, kinds in pairs({ message = { "headline", "groupchat", "error" }, presence = { "unavailable", "error" } }) do
		for _, kind in ipairs(kinds) do
			local task, said = refused(name, kind);
			stub.pass(3);
			same(task.result[1], nil);
			same(#said, 0);
		end
	end
end

function both.what_is_known_is_not_refused()
	for answer, result in pairs({ ["1"] = false, ["0"] = false, ["2"] = true }) do
		local task, said = refused("message", "chat");
		last():answers(answer);
		same(task.result[1] == true, result);
		same(#said, result and 1 or 0);
		stub.load(arg[1]);
	end
end
