-- Stanzas of components, handled where one may wait. See wire.lua.

local scenarios, stub, tools = ...;
local same = tools.same;
local both = scenarios.both;

function both.stanzas_of_components_are_handled_where_one_may_wait()
	local gateway = { host = "gw.example.com", type = "component" };
	local reused = { attr = { to = "alice@example.com" }, text = "hello" };
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), true);
	reused.attr.to = "bob@example.com";
	same(stub.posted[1][2].attr.to, "alice@example.com");
	same(stub.posted[1][3], true);
	prosody.hosts["example.com"].sessions.bob = {};
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), nil); -- he is there
	same(stub.hooks["message/bare"]({ origin = { type = "c2s" }, stanza = { attr = { to = "x@y" } } }), nil);
	local inside = stub.run(function ()
		return stub.hooks["message/bare"]({ origin = gateway, stanza = { attr = { to = "x@example.com" } } });
	end);
	same(inside.result[1], nil);
end

local gateway = { host = "gw.example.com", type = "component" };

local function arrives(to, text, origin)
	return stub.hooks["message/bare"]({ origin = origin or gateway, stanza = { attr = { to = to }, text = text } });
end

-- Where stanzas are handled: they wait there, until they go on in the main loop.
local function waiting_room()
	local room = {};
	prosody.core_post_stanza = function (_, stanza)
		table.insert(stub.posted, stanza.text);
		room[stanza.text] = coroutine.running();
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
		table.insert(stub.posted, stanza.text);
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
