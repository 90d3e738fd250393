-- How far the draw of a round has come: what was fixed when it was opened, when its tickets were listed, and when it was drawn. Null: no winner is
-- drawn here.
alter table rounds.rounds add column draw jsonb;

-- Whether the shares came back once the tickets of their round were listed, and so take part in its draw all the same.
alter table rounds.holds add column keeps_ticket boolean not null default false;
