#!/usr/bin/env escript
%% Asks a running ejabberd as its own modules do, one question a line; each has an answer as soon as there is one.
%%
%%     ERL_FLAGS="-start_epmd false -erl_epmd_port PORT" ask.escript NODE
%%
%% A line is `TAG COMMAND USER HOST SECRET`, the last three in hexadecimal and `-` where there is nothing. The answer is
%% `TAG yes` or `TAG no REASON`. The node listens on PORT, so
%% that no epmd has to be asked, or started.
-mode(compile).

main([Node]) ->
    Name = list_to_atom("asker" ++ os:getpid() ++ "@127.0.0.1"),
    {ok, _} = net_kernel:start(Name, #{name_domain => longnames, hidden => true, dist_listen => false}),
    Peer = list_to_atom(Node),
    true = net_kernel:connect_node(Peer),
    io:setopts([binary]),
    io:put_chars("up\n"),
    ask_all(Peer).

ask_all(Peer) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            [Tag, Command | Fields] = binary:split(string:trim(Line), <<" ">>, [global]),
            Question = [unhex(Field) || Field <- Fields],
            spawn_link(fun() -> print(Tag, verdict(ask(Peer, Command, Question))) end),
            ask_all(Peer)
    end.

unhex(<<"-">>) -> <<>>;
unhex(Text) -> binary:decode_hex(Text).

ask(Peer, <<"auth">>, [U, H, S]) -> rpc:call(Peer, ejabberd_auth, check_password, [U, <<>>, H, S]);
ask(Peer, <<"isuser">>, [U, H, _]) -> rpc:call(Peer, ejabberd_auth, user_exists, [U, H]);
ask(Peer, <<"setpass">>, Fields) -> rpc:call(Peer, ejabberd_auth, set_password, Fields);
ask(Peer, <<"tryregister">>, Fields) -> rpc:call(Peer, ejabberd_auth, try_register, Fields);
ask(Peer, <<"removeuser">>, [U, H, _]) -> rpc:call(Peer, ejabberd_auth, remove_user, [U, H]);
ask(Peer, <<"removeuser3">>, Fields) -> rpc:call(Peer, ejabberd_auth, remove_user, Fields).

verdict(true) -> <<"yes">>;
verdict(ok) -> <<"yes">>;
verdict(false) -> <<"no">>;
verdict({error, Reason}) -> io_lib:format("no ~s", [Reason]);
verdict({badrpc, _}) -> <<"failed">>.

print(Tag, Verdict) ->
    io:put_chars([Tag, " ", Verdict, "\n"]).
