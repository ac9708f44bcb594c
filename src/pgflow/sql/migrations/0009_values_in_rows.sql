-- An element and a result of about 1 KB each stay in their task's row as they are: above the default of 2 KB a row's
-- values are compressed, mostly in vain, then moved to another table, which cost more than all else about the task.
alter table pgflow.step_tasks set (toast_tuple_target = 4096);
