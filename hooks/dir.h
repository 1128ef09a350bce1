#pragma once

/*
 * hooks.d directories: OCI hook files of the schemas 1.0.0 and 0.1.0
 *
 * A directory that is not there is empty.  A file in a later directory masks the
 * file of the same name in an earlier one, also when it is bad: an operator's file is
 * never replaced by a vendor's.  A bad file, or a directory that cannot be read, becomes a
 * rule with its error and disables nothing else.  Rules come out ordered by file name, in
 * lower case.  What a hook file names runs as root: only a file that root alone can write counts.
 */

#include "hooks/rule.h"

/* The rules of all @dirs (ended by NULL), appended to @ret. */
int dir_read(const char *const *dirs, struct rules *ret, struct cringle_err *err);

/*
 * A number that changes when a file or directory does (names, sizes, times, inodes):
 * cheap to ask before each container, and right also when a directory is replaced.
 * *ret_settled is false when something changed so lately that one more change might
 * leave the number as it is, since times come in ticks.
 */
uint64_t dir_stamp(const char *const *dirs, bool *ret_settled);

/* The same of the files that @counts says count, by their names. */
uint64_t dir_stamp_of(const char *const *dirs, bool (*counts)(const char *name), bool *ret_settled);

/* The text of @path, a regular file that root alone can write, at most a MiB; never waits.  Appends. */
int dir_read_file(const char *path, struct buf *ret, struct cringle_err *err);
