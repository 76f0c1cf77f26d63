#!/usr/bin/env escript
%% ejabberd's own pool of authentication programs, asked from inside: no stdin, no stdout, no line to take apart.
%%
%%     ejabberd.escript EBIN POOL CALLERS WARM_UP SECONDS PROGRAM
%%
%% EBIN is the directory of ejabberd's modules. Its `extauth` is used as it is: its workers, its choice of one,
%% its time limit. CALLERS processes ask one question after the other, as ejabberd's sessions do. Every answer
%% is checked. Prints one line of JSON as load does; exit status 1 if an answer was wrong.
-mode(compile).

-define(HOST, <<"example.com">>).
-define(QUESTIONS, 256).

main([Ebin, Pool, Callers, WarmUp, Seconds, Program]) ->
    true = code:add_path(Ebin),
    start_pool(list_to_integer(Pool), Program),
    Count = list_to_integer(Callers),
    Each = list_to_integer(WarmUp) div Count + 1,
    Duration = round(list_to_float(Seconds) * 1.0e9),
    Main = self(),
    Start = fun(Number) -> spawn_link(fun() -> caller(Main, Number, Each, Duration) end) end,
    Pids = lists:map(Start, lists:seq(1, Count)),
    [receive {warm, Pid} -> ok end || Pid <- Pids],
    Started = now_ns(),
    [Pid ! go || Pid <- Pids],
    Trips = lists:append([receive {trips, Pid, Found} -> Found end || Pid <- Pids]),
    print(lists:sort(Trips), (now_ns() - Started) / 1.0e9).

%% What ejabberd's supervisor would do, and the two options its modules look up.
start_pool(Size, Program) ->
    ets:new(ejabberd_options, [named_table, public, {read_concurrency, true}]),
    ets:insert(ejabberd_options, [{{extauth_pool_name, ?HOST}, undefined}, {{extauth_pool_size, ?HOST}, Size}]),
    Pool = extauth:pool_name(?HOST),
    [{ok, _} = extauth:start_link(extauth:worker_name(Pool, N), Program) || N <- lists:seq(1, Size)].

caller(Main, Number, WarmUp, Duration) ->
    rand:seed(exsplus, {Number, 1, 1}),
    Questions = list_to_tuple([question() || _ <- lists:seq(1, ?QUESTIONS)]),
    [ask(element(1 + N rem ?QUESTIONS, Questions)) || N <- lists:seq(1, WarmUp)],
    Main ! {warm, self()},
    receive go -> ok end,
    Main ! {trips, self(), ask_until(now_ns() + Duration, 0, Questions, [])}.

%% Made beforehand: what is measured is the pool. True is right when the last byte is odd, as in program.c.
question() ->
    User = list_to_binary(io_lib:format("u~5..0b", [rand:uniform(100000) - 1])),
    Secret = list_to_binary(io_lib:format("~16.16.0b", [rand:uniform(1 bsl 58)])),
    {User, Secret, binary:last(Secret) band 1 =:= 1}.

ask_until(End, N, Questions, Trips) ->
    Trip = ask(element(1 + N rem ?QUESTIONS, Questions)),
    case now_ns() < End of
        true -> ask_until(End, N + 1, Questions, [Trip | Trips]);
        false -> [Trip | Trips]
    end.

%% How many ns one question took.
ask({User, Secret, Right}) ->
    Asked = now_ns(),
    Answer = extauth:check_password(User, ?HOST, Secret),
    Trip = now_ns() - Asked,
    case Answer of
        Right -> Trip;
        _ -> io:format(standard_error, "ejabberd: a wrong answer: ~p~n", [Answer]), halt(1)
    end.

now_ns() ->
    erlang:monotonic_time(nanosecond).

print(Trips, Seconds) ->
    Count = length(Trips),
    All = list_to_tuple(Trips),
    Share = fun(Part) -> element(1 + trunc(Part * (Count - 1)), All) / 1000 end,
    io:format("{\"lines\": ~b, \"seconds\": ~.6f, \"rate\": ~.1f, ", [Count, Seconds, Count / Seconds]),
    io:format("\"p50_us\": ~.2f, \"p99_us\": ~.2f, \"max_us\": ~.2f}~n", [Share(0.50), Share(0.99), Share(1)]).
