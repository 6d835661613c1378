%% The Savina games in Erlang: processes of one Erlang machine.
%%
%% Each exported function plays one game and gives {Nanoseconds, [{Name, Count}]}; play/2
%% prints that as plain numbers and names, from which the harness computes the check.

-module(savina).
-export([play/2]).

play(Game, Sizes) ->
    erlang:garbage_collect(),
    {Elapsed, Counts} = game(Game, Sizes),
    io:format("~s ~b", [Game, Elapsed]),
    lists:foreach(fun({Name, Count}) -> io:format(" ~s ~b", [Name, Count]) end, Counts),
    io:format("~n").

now_ns() -> erlang:monotonic_time(nanosecond).
numbers(Count) -> lists:seq(0, Count - 1).

%% The sums over what so many processes report.
reports(0, Counts) -> maps:to_list(Counts);
reports(Left, Counts) ->
    receive
        {report, Some} ->
            Add = fun({Name, Count}, Map) ->
                maps:update_with(Name, fun(Before) -> Before + Count end, Count, Map)
            end,
            reports(Left - 1, lists:foldl(Add, Counts, Some))
    end.
reports(Count) -> reports(Count, #{}).

%% Tells the first messages, waits for the reports.
perform(Firsts, Reports) ->
    Start = now_ns(),
    lists:foreach(fun({To, Message}) -> To ! Message end, Firsts),
    Counts = reports(Reports),
    {now_ns() - Start, Counts}.

read(Actors) ->
    lists:foreach(fun(Actor) -> Actor ! {read, self()} end, Actors),
    reports(length(Actors)).

finish(Actors, Outcome) ->
    lists:foreach(fun(Actor) -> exit(Actor, kill) end, Actors),
    Outcome.

game(ping_pong, #{round_trips := RoundTrips}) ->
    Stage = self(),
    Ponger = spawn(fun() -> ponger(0) end),
    Pinger = spawn(fun() -> pinger(Stage, Ponger, RoundTrips, 0) end),
    {Elapsed, Counts} = perform([{Pinger, 'begin'}], 1),
    finish([Ponger, Pinger], {Elapsed, Counts ++ read([Ponger])});

game(counting, #{messages := Messages}) ->
    Stage = self(),
    Counter = spawn(fun() -> counter(Stage, 0) end),
    Producer = spawn(fun() -> receive 'begin' -> increments(Counter, Messages) end end),
    finish([Counter], perform([{Producer, 'begin'}], 1));

game(fork_join_throughput, #{actors := Actors, messages := Messages}) ->
    Stage = self(),
    Workers = [spawn(fun() -> worker(Stage, Messages, 0) end) || _ <- numbers(Actors)],
    Dealer = spawn(fun() -> receive 'begin' -> deal(Workers, Messages) end end),
    finish(Workers, perform([{Dealer, 'begin'}], Actors));

game(fork_join_create, #{actors := Actors}) ->
    Stage = self(),
    Start = now_ns(),
    create(Stage, Actors),
    Counts = reports(Actors),
    {now_ns() - Start, Counts};

game(thread_ring, #{actors := Actors, hops := Hops}) ->
    Stage = self(),
    Ring = [
        spawn(fun() -> receive {join, Next} -> member(Stage, Place, Hops, Next) end end)
     || Place <- numbers(Actors)
    ],
    [First | Rest] = Ring,
    lists:foreach(
        fun({Member, Next}) -> Member ! {join, Next} end, lists:zip(Ring, Rest ++ [First])
    ),
    finish(Ring, perform([{First, {token, Hops}}], 1));

game(chameneos, #{creatures := Creatures, meetings := Meetings}) ->
    Stage = self(),
    Mall = spawn(fun() -> mall(Meetings, none) end),
    All = [spawn(fun() -> creature(Stage, Mall, N rem 3, 0) end) || N <- numbers(Creatures)],
    finish([Mall | All], perform([{Creature, 'begin'} || Creature <- All], Creatures));

game(big, #{actors := Actors, pings := Pings}) ->
    Stage = self(),
    Members = [
        spawn(fun() ->
            rand:seed(exsss, {1, 2, N}),
            receive {join, All} -> big(Stage, All, Actors, Pings, 0, 0) end
        end)
     || N <- numbers(Actors)
    ],
    Tuple = list_to_tuple(Members),
    lists:foreach(fun(Member) -> Member ! {join, Tuple} end, Members),
    {Elapsed, Counts} = perform([{Member, 'begin'} || Member <- Members], Actors),
    finish(Members, {Elapsed, Counts ++ read(Members)});

game(concurrent_dictionary, #{workers := Workers, operations := Operations}) ->
    Stage = self(),
    Dictionary = spawn(fun() -> dictionary(#{}, 0, 0) end),
    Readers = [
        spawn(fun() -> receive 'begin' -> operate(Stage, Dictionary, N, 0, Operations) end end)
     || N <- numbers(Workers)
    ],
    {Elapsed, _} = perform([{Reader, 'begin'} || Reader <- Readers], Workers),
    finish([Dictionary], {Elapsed, read([Dictionary])});

game(bounded_buffer, #{producers := P, consumers := C, items := Items, capacity := Capacity}) ->
    Stage = self(),
    Buffer = spawn(fun() ->
        buffer(#{
            stage => Stage, full_at => Capacity - P, capacity => Capacity, left => P * Items,
            consumers => C, values => queue:new(), waiting => queue:new(), idle => [],
            size => 0, largest => 0
        })
    end),
    Producers = [
        spawn(fun() -> producer(Buffer, N * Items, (N + 1) * Items) end) || N <- numbers(P)
    ],
    Consumers = [spawn(fun() -> consumer(Stage, Buffer, 0, 0) end) || _ <- numbers(C)],
    Firsts = [{Consumer, 'begin'} || Consumer <- Consumers] ++
        [{Producer, produce} || Producer <- Producers],
    finish([Buffer | Producers ++ Consumers], perform(Firsts, 1 + C));

game(dining_philosophers, #{philosophers := Seats, meals := Meals}) ->
    Stage = self(),
    Arbiter = spawn(fun() -> arbiter(Seats, #{}) end),
    Philosophers = [
        spawn(fun() -> receive 'begin' -> dine(Stage, Arbiter, Seat, Meals, Meals) end end)
     || Seat <- numbers(Seats)
    ],
    finish([Arbiter], perform([{P, 'begin'} || P <- Philosophers], Seats));

game(sleeping_barber, #{customers := Customers, chairs := Chairs, at_once := AtOnce}) ->
    Stage = self(),
    Room = spawn(fun() ->
        receive {hire, Barber} -> room(Barber, Chairs, 0, queue:new(), true) end
    end),
    Barber = spawn(fun() -> barber(Room) end),
    Room ! {hire, Barber},
    First = min(AtOnce, Customers),
    Factory = spawn(fun() ->
        receive 'begin' -> make(First, Room), factory(Stage, Room, Customers - First, 0, Customers) end
    end),
    finish([Room, Barber], perform([{Factory, 'begin'}], 1));

game(cigarette_smokers, #{smokers := Smokers, turns := Turns}) ->
    Stage = self(),
    Arbiter = spawn(fun() ->
        receive {meet, All} -> receive 'begin' -> choose(Stage, All, Smokers, 0, Turns) end end
    end),
    All = [spawn(fun() -> smoker(Arbiter, Place, 0) end) || Place <- numbers(Smokers)],
    Arbiter ! {meet, list_to_tuple(All)},
    {Elapsed, Counts} = perform([{Arbiter, 'begin'}], 1),
    finish(All, {Elapsed, Counts ++ read(All)});

game(logistic_map, #{series := Series, terms := Terms}) ->
    Pairs = [
        begin
            Rate = 3.46 + N * 0.0025,
            Computer = spawn(fun() -> computer(Rate) end),
            {Computer, spawn(fun() -> series(Computer, (N + 1) * 0.0025) end)}
        end
     || N <- numbers(Series)
    ],
    Regions = [Region || {_, Region} <- Pairs],
    Start = now_ns(),
    order(Regions, Terms),
    Last = [
        begin
            Region ! {last, self()},
            receive {last, Region, Term} -> Term end
        end
     || Region <- Regions
    ],
    Elapsed = now_ns() - Start,
    <<Bits:64>> = <<(lists:foldl(fun(Term, Sum) -> Sum + Term end, 0.0, Last))/float>>,
    Counts = [{terms, Series * Terms}, {sum_bits, Bits}],
    finish(Regions ++ [Computer || {Computer, _} <- Pairs], {Elapsed, Counts});

game(banking, #{accounts := Count, transfers := Transfers}) ->
    Accounts = [spawn(fun() -> account(Place, 1000000) end) || Place <- numbers(Count)],
    Tuple = list_to_tuple(Accounts),
    Start = now_ns(),
    Window = min(2000, Transfers),
    lists:foreach(fun(N) -> transfer(Tuple, Count, N) end, numbers(Window)),
    teller(Tuple, Count, Window, Transfers, 0),
    Elapsed = now_ns() - Start,
    finish(Accounts, {Elapsed, [{transfers, Transfers} | read(Accounts)]}).

%% --- who plays ------------------------------------------------------------------------------

ponger(Pings) ->
    receive
        {ping, From} -> From ! pong, ponger(Pings + 1);
        {read, Reader} -> Reader ! {report, [{pings, Pings}]}
    end.

pinger(Stage, Ponger, RoundTrips, Pongs) ->
    receive
        'begin' ->
            Ponger ! {ping, self()},
            pinger(Stage, Ponger, RoundTrips, Pongs);
        pong when Pongs + 1 < RoundTrips ->
            Ponger ! {ping, self()},
            pinger(Stage, Ponger, RoundTrips, Pongs + 1);
        pong ->
            Stage ! {report, [{pongs, Pongs + 1}]}
    end.

counter(Stage, Count) ->
    receive
        increment -> counter(Stage, Count + 1);
        finish -> Stage ! {report, [{count, Count}]}
    end.

increments(Counter, 0) -> Counter ! finish;
increments(Counter, Left) -> Counter ! increment, increments(Counter, Left - 1).

sine() -> true = math:pow(math:sin(37.2), 2) > 0.

worker(Stage, Messages, Handled) ->
    receive work -> sine() end,
    case Handled + 1 of
        Messages -> Stage ! {report, [{handled, Messages}]};
        More -> worker(Stage, Messages, More)
    end.

deal(_Workers, 0) -> ok;
deal(Workers, Left) -> [Worker ! work || Worker <- Workers], deal(Workers, Left - 1).

create(_Stage, 0) -> ok;
create(Stage, Left) ->
    spawn(fun() -> receive work -> sine() end, Stage ! {report, [{finished, 1}]} end) ! work,
    create(Stage, Left - 1).

member(Stage, Place, Hops, Next) ->
    receive
        {token, 0} -> Stage ! {report, [{last, Place}, {hops, Hops}]};
        {token, Left} -> Next ! {token, Left - 1}
    end,
    member(Stage, Place, Hops, Next).

mall(Left, Waiting) ->
    receive
        {meet, _Colour, Creature} when Left =:= 0 -> Creature ! close, mall(0, none);
        {meet, _Colour, Creature} when Waiting =:= none -> mall(Left, Creature);
        {meet, _, _} = Meet -> Waiting ! Meet, mall(Left - 1, none)
    end.

creature(Stage, Mall, Colour, Met) ->
    receive
        'begin' ->
            Mall ! {meet, Colour, self()},
            creature(Stage, Mall, Colour, Met);
        {meet, Other, Creature} ->
            Third = case Other of Colour -> Colour; _ -> 3 - Colour - Other end,
            Creature ! {change, Third},
            Mall ! {meet, Third, self()},
            creature(Stage, Mall, Third, Met + 1);
        {change, Third} ->
            Mall ! {meet, Third, self()},
            creature(Stage, Mall, Third, Met + 1);
        close ->
            Stage ! {report, [{met, Met}]}
    end.

big(Stage, All, Count, Left, Pongs, Answered) ->
    receive
        {ping, From} ->
            From ! pong,
            big(Stage, All, Count, Left, Pongs, Answered + 1);
        'begin' ->
            element(rand:uniform(Count), All) ! {ping, self()},
            big(Stage, All, Count, Left - 1, Pongs, Answered);
        pong when Left > 0 ->
            element(rand:uniform(Count), All) ! {ping, self()},
            big(Stage, All, Count, Left - 1, Pongs + 1, Answered);
        pong ->
            Stage ! {report, [{pongs, Pongs + 1}]},
            big(Stage, All, Count, Left, Pongs + 1, Answered);
        {read, Reader} ->
            Reader ! {report, [{pings, Answered}]}
    end.

dictionary(Values, Reads, Writes) ->
    receive
        {look_up, From, Key} ->
            From ! {result, maps:get(Key, Values, none)},
            dictionary(Values, Reads + 1, Writes);
        {write, From, Key, Value} ->
            From ! {result, maps:get(Key, Values, none)},
            dictionary(Values#{Key => Value}, Reads, Writes + 1);
        {read, Reader} ->
            Reader ! {report, [
                {reads, Reads}, {writes, Writes}, {entries, map_size(Values)},
                {values, lists:sum(maps:values(Values))}
            ]}
    end.

operate(Stage, _Dictionary, _Number, Operations, Operations) -> Stage ! {report, []};
operate(Stage, Dictionary, Number, Operation, Operations) ->
    Key = (Number * 7919 + Operation * 104729) rem 524288,
    case Operation rem 10 of
        0 -> Dictionary ! {write, self(), Key, Key};
        _ -> Dictionary ! {look_up, self(), Key}
    end,
    receive {result, _} -> operate(Stage, Dictionary, Number, Operation + 1, Operations) end.

buffer(#{size := Size, largest := Largest, left := Left, idle := Idle} = B) ->
    receive
        {item, Value, Producer} ->
            Taken = case Idle of
                [Consumer | Rest] ->
                    Consumer ! {consume, Value},
                    B#{idle := Rest, left := Left - 1};
                [] ->
                    B#{
                        values := queue:in(Value, maps:get(values, B)), size := Size + 1,
                        largest := max(Largest, Size + 1)
                    }
            end,
            case maps:get(size, Taken) >= maps:get(full_at, Taken) of
                true -> buffer(Taken#{waiting := queue:in(Producer, maps:get(waiting, Taken))});
                false -> Producer ! produce, buffer(Taken)
            end;
        {available, Consumer} when Size > 0 ->
            {{value, Value}, Values} = queue:out(maps:get(values, B)),
            Consumer ! {consume, Value},
            Given = B#{values := Values, size := Size - 1, left := Left - 1},
            case queue:out(maps:get(waiting, B)) of
                {{value, Producer}, Waiting} -> Producer ! produce, buffer(Given#{waiting := Waiting});
                {empty, _} -> buffer(Given)
            end;
        {available, Consumer} ->
            All = [Consumer | Idle],
            case Left =:= 0 andalso length(All) =:= maps:get(consumers, B) of
                true ->
                    lists:foreach(fun(Each) -> Each ! close end, All),
                    Over = case Largest > maps:get(capacity, B) of true -> 1; false -> 0 end,
                    maps:get(stage, B) ! {report, [{over_capacity, Over}]};
                false ->
                    buffer(B#{idle := All})
            end
    end.

producer(_Buffer, End, End) -> ok;
producer(Buffer, Value, End) ->
    receive produce -> Buffer ! {item, Value, self()}, producer(Buffer, Value + 1, End) end.

consumer(Stage, Buffer, Consumed, Values) ->
    receive
        'begin' ->
            Buffer ! {available, self()},
            consumer(Stage, Buffer, Consumed, Values);
        {consume, Value} ->
            Buffer ! {available, self()},
            consumer(Stage, Buffer, Consumed + 1, Values + Value);
        close ->
            Stage ! {report, [{consumed, Consumed}, {values, Values}]}
    end.

arbiter(Seats, Taken) ->
    receive
        {hungry, Philosopher, Seat} ->
            Right = (Seat + 1) rem Seats,
            case is_map_key(Seat, Taken) orelse is_map_key(Right, Taken) of
                true -> Philosopher ! refused, arbiter(Seats, Taken);
                false -> Philosopher ! eat, arbiter(Seats, Taken#{Seat => true, Right => true})
            end;
        {sated, Seat} ->
            arbiter(Seats, maps:without([Seat, (Seat + 1) rem Seats], Taken))
    end.

dine(Stage, _Arbiter, _Seat, Meals, 0) -> Stage ! {report, [{meals, Meals}]};
dine(Stage, Arbiter, Seat, Meals, Left) ->
    Arbiter ! {hungry, self(), Seat},
    receive
        refused -> dine(Stage, Arbiter, Seat, Meals, Left);
        eat -> Arbiter ! {sated, Seat}, dine(Stage, Arbiter, Seat, Meals, Left - 1)
    end.

room(Barber, Chairs, Size, Customers, Sleeps) ->
    receive
        {enter, Customer} when Size =:= Chairs ->
            Customer ! full,
            room(Barber, Chairs, Size, Customers, Sleeps);
        {enter, Customer} ->
            case Sleeps of
                true -> self() ! next;
                false -> Customer ! wait
            end,
            room(Barber, Chairs, Size + 1, queue:in(Customer, Customers), false);
        next when Size =:= 0 ->
            Barber ! wait,
            room(Barber, Chairs, 0, Customers, true);
        next ->
            {{value, Customer}, Rest} = queue:out(Customers),
            Barber ! {serve, Customer},
            room(Barber, Chairs, Size - 1, Rest, Sleeps)
    end.

barber(Room) ->
    receive
        {serve, Customer} -> Customer ! wait, Customer ! done, Room ! next;
        wait -> ok
    end,
    barber(Room).

customer(Factory) ->
    receive
        full -> Factory ! {returned, self()}, customer(Factory);
        wait -> customer(Factory);
        done -> Factory ! served
    end.

make(0, _Room) -> ok;
make(Count, Room) ->
    Factory = self(),
    Room ! {enter, spawn(fun() -> customer(Factory) end)},
    make(Count - 1, Room).

factory(Stage, _Room, _Unmade, All, All) -> Stage ! {report, [{haircuts, All}]};
factory(Stage, Room, Unmade, Served, All) ->
    receive
        {returned, Customer} ->
            Room ! {enter, Customer},
            factory(Stage, Room, Unmade, Served, All);
        served when Unmade > 0 ->
            make(1, Room),
            factory(Stage, Room, Unmade - 1, Served + 1, All);
        served ->
            factory(Stage, Room, 0, Served + 1, All)
    end.

choose(Stage, _All, _Smokers, Turns, Turns) -> Stage ! {report, [{smoked, Turns}]};
choose(Stage, All, Smokers, Turn, Turns) ->
    element(Turn * 7919 rem Smokers + 1, All) ! smoke,
    receive smoking -> choose(Stage, All, Smokers, Turn + 1, Turns) end.

smoker(Arbiter, Place, Times) ->
    receive
        smoke -> Arbiter ! smoking, smoker(Arbiter, Place, Times + 1);
        {read, Reader} -> Reader ! {report, [{by_smoker, (Place + 1) * Times}]}
    end.

computer(Rate) ->
    receive {compute, From, Term} -> From ! {computed, Rate * Term * (1 - Term)} end,
    computer(Rate).

series(Computer, Term) ->
    receive
        next ->
            Computer ! {compute, self(), Term},
            receive {computed, Following} -> series(Computer, Following) end;
        {last, Reader} ->
            Reader ! {last, self(), Term}
    end.

order(_Keepers, 0) -> ok;
order(Regions, Left) ->
    lists:foreach(fun(Region) -> Region ! next end, Regions),
    order(Regions, Left - 1).

transfer(Accounts, Count, Number) ->
    Source = Number * 7919 rem (Count * 8 div 10),
    Target = Source + 1 + Number * 104729 rem (Count - Source - 1),
    element(Source + 1, Accounts) !
        {credit, self(), Number rem 1000 + 1, element(Target + 1, Accounts)}.

teller(_Accounts, _Count, _Ordered, Transfers, Transfers) -> ok;
teller(Accounts, Count, Ordered, Transfers, Done) ->
    receive transferred -> ok end,
    case Ordered < Transfers of
        true ->
            transfer(Accounts, Count, Ordered),
            teller(Accounts, Count, Ordered + 1, Transfers, Done + 1);
        false ->
            teller(Accounts, Count, Ordered, Transfers, Done + 1)
    end.

account(Place, Balance) ->
    receive
        {credit, Teller, Amount, Recipient} ->
            Recipient ! {debit, self(), Amount},
            receive debited -> Teller ! transferred end,
            account(Place, Balance - Amount);
        {debit, From, Amount} ->
            From ! debited,
            account(Place, Balance + Amount);
        {read, Reader} ->
            Reader ! {report, [{total, Balance}, {by_account, (Place + 1) * Balance}]}
    end.
