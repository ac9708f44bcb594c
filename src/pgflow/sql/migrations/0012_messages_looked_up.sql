-- With one more parameter, whose default would make calls of the old one ambiguous.
drop function if exists pgflow._set_visible(text, bigint[], timestamptz[]);
