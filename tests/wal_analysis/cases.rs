//! Statements and what they are.

use rpitr::wal::IncidentKind::{self, *};

pub struct Case {
    /// Run one after the other; each string is one implicit transaction or one script.
    pub sql: &'static [&'static str],
    /// What is lost, with sorted names.
    pub lost: &'static [(IncidentKind, &'static [&'static str])],
    /// What else is to be recognised.
    pub harmless: Option<IncidentKind>,
}

const fn lost(
    sql: &'static [&'static str],
    lost: &'static [(IncidentKind, &'static [&'static str])],
) -> Case {
    Case {
        sql,
        lost,
        harmless: None,
    }
}

const fn harmless(sql: &'static [&'static str], kind: IncidentKind) -> Case {
    Case {
        sql,
        lost: &[],
        harmless: Some(kind),
    }
}

const fn nothing(sql: &'static [&'static str]) -> Case {
    lost(sql, &[])
}

pub const SETUP: &str = "
create table customers(id int primary key, name text);
create table orders(id int primary key, customer int references customers, note text);
create table alone(id serial primary key, v text);
create table twice(id int primary key, v text);
create table small(id int primary key, v int);
create table big(id int primary key, v text);
create table altered(id int primary key, v int);
create table clustered(id int primary key, v text);
create table renamed(id int primary key);
create table doomed(id int primary key, v text);
create table doomed2(id int);
create table indexed(id int primary key, v int); create index by_v on indexed(v); create index by_v2 on indexed(v);
create table restarted(id int generated always as identity, v text);
create table moved(id int primary key, v text);
create unlogged table fast(id int);
create table parted(id int, v text) partition by range(id);
create table parted_a partition of parted for values from (0) to (1000);
create table parted_b partition of parted for values from (1000) to (2000);
create table parted2(id int) partition by range(id);
create table parted2_a partition of parted2 for values from (0) to (1000);
create materialized view seen as select 1 as x;
create materialized view gone as select 1 as x;
create view looked as select 1 as x;
create sequence counted;
create schema attic; create table attic.chest(id int, v text); create index on attic.chest(id); create view attic.hole as select 1 as x;
create schema bare;
create tablespace elsewhere location 'SPACE';
create database other;
insert into customers select i, 'c' || i from generate_series(1, 200) i;
insert into orders select i, i % 200 + 1, repeat('n', 50) from generate_series(1, 500) i;
insert into alone(v) select i from generate_series(1, 100) i;
insert into twice select i, i from generate_series(1, 100) i;
insert into small select i, i from generate_series(1, 100) i;
insert into big select i, i from generate_series(1, 5000) i;
insert into altered select i, i from generate_series(1, 100) i;
insert into clustered select i, i from generate_series(1, 100) i;
insert into doomed select i, repeat('long', 5000) from generate_series(1, 10) i;
insert into indexed select i, i from generate_series(1, 100) i;
insert into restarted(v) select i from generate_series(1, 100) i;
insert into moved select i, i from generate_series(1, 100) i;
insert into fast select i from generate_series(1, 100) i;
insert into parted select i, i from generate_series(1, 1999) i;
insert into attic.chest select i, i from generate_series(1, 100) i;
analyze;
checkpoint;
";

pub const CASES: &[Case] = &[
    lost(&["truncate alone"], &[(Truncate, &["public.alone"])]),
    lost(
        &["truncate customers cascade"],
        &[(Truncate, &["public.customers", "public.orders"])],
    ),
    lost(
        &["truncate restarted restart identity"],
        &[(Truncate, &["public.restarted"])],
    ),
    lost(
        &["begin; savepoint s; truncate twice; release s; insert into twice values (1); commit"],
        &[(Truncate, &["public.twice"])],
    ),
    nothing(&[
        "begin; savepoint s; truncate twice; rollback to s; insert into twice values (2); commit",
    ]),
    nothing(&["begin; truncate twice; rollback"]),
    lost(
        &[
            "begin; truncate twice; prepare transaction 'p'",
            "commit prepared 'p'",
        ],
        &[(Truncate, &["public.twice"])],
    ),
    nothing(&[
        "begin; truncate twice; prepare transaction 'q'",
        "rollback prepared 'q'",
    ]),
    lost(&["truncate fast"], &[(Truncate, &["public.fast"])]),
    lost(
        &["truncate parted"],
        &[(Truncate, &["public.parted_a", "public.parted_b"])],
    ),
    lost(
        &["begin; truncate alone; drop table doomed2; commit"],
        &[
            (Truncate, &["public.alone"]),
            (DropTable, &["public.doomed2"]),
        ],
    ),
    lost(&["drop table doomed"], &[(DropTable, &["public.doomed"])]),
    lost(
        &["drop table parted2"],
        &[(DropTable, &["public.parted2", "public.parted2_a"])],
    ),
    lost(
        &[
            "alter table renamed rename to other_name",
            "drop table other_name",
        ],
        &[(DropTable, &["public.other_name"])],
    ),
    lost(&["drop index by_v"], &[(DropIndex, &["public.by_v"])]),
    lost(
        &["drop index concurrently by_v2"],
        &[(DropIndex, &["public.by_v2"])],
    ),
    lost(
        &["drop sequence counted"],
        &[(DropSequence, &["public.counted"])],
    ),
    lost(
        &["drop materialized view gone"],
        &[(DropMaterializedView, &["public.gone"])],
    ),
    lost(&["drop view looked"], &[(DropOther, &["public.looked"])]),
    lost(
        &["drop schema attic cascade"],
        &[(DropSchema, &["attic.chest", "attic.hole"])],
    ),
    lost(&["drop schema bare"], &[(DropSchema, &[])]),
    lost(&["drop database other"], &[(DropDatabase, &["other"])]),
    lost(
        &["delete from big where id <= 3000"],
        &[(MassDelete, &["public.big"])],
    ),
    lost(
        &["delete from small where id <= 60"],
        &[(MassDelete, &["public.small"])],
    ),
    lost(&["update big set v = ''"], &[(MassUpdate, &["public.big"])]),
    nothing(&["delete from small where id = 70"]),
    nothing(&["begin; delete from big; rollback"]),
    harmless(&["vacuum full alone"], Rewrite),
    harmless(&["vacuum full pg_class"], Rewrite),
    lost(&["truncate orders"], &[(Truncate, &["public.orders"])]),
    harmless(&["vacuum full pg_namespace"], Rewrite),
    harmless(&["vacuum full pg_database"], Rewrite),
    harmless(&["cluster clustered using clustered_pkey"], Rewrite),
    harmless(&["refresh materialized view seen"], Rewrite),
    harmless(&["alter table altered alter v type bigint"], Rewrite),
    harmless(&["alter table altered add z int"], OtherDdl),
    harmless(&["reindex table alone"], Rebuild),
    harmless(&["reindex index concurrently altered_pkey"], Rebuild),
    harmless(&["alter sequence alone_id_seq restart"], Rebuild),
    harmless(&["alter table moved set tablespace elsewhere"], Move),
    nothing(&["vacuum freeze small"]),
    nothing(&[
        "create temp table t as select 1; insert into t select 1 from generate_series(1, 5000); truncate t; drop table t",
    ]),
    nothing(&[
        "begin; create table born(id int); insert into born values (1); truncate born; commit",
    ]),
    nothing(&["begin; create table brief(id int); drop table brief; commit"]),
    nothing(&["begin; lock table small in access exclusive mode; commit"]),
    lost(
        &["create table late as select 1 as x", "truncate late"],
        &[(Truncate, &["public.late"])],
    ),
    lost(
        &[
            "create schema annex; create table annex.room(id int primary key)",
            "drop table annex.room",
        ],
        &[(DropTable, &["annex.room"])],
    ),
    lost(
        &["create database shortlived", "drop database shortlived"],
        &[(DropDatabase, &["shortlived"])],
    ),
];
