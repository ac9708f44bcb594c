-- Both take one argument more, with a default: nobody who calls them notices.
drop function if exists pgflow.settle_and_poll(uuid, jsonb, text[], int, int);
drop function if exists pgflow._wake_workers(text);
