/* What can be done about a finding, judged by what is left of the shard; and what is lost when it is done. */
#include <stdio.h>

#include "src/verify/verify_internal.h"

#define RESTORE "restore a copy of this folder; --repair leaves it as it is"

bool verify_log_has_beginning(const struct verify_shard *s)
{
    return s->log && s->log_report.start == 1 && s->log_report.end > 1 && !s->log_is_foreign;
}

bool verify_log_has_all(const struct verify_shard *s)
{
    return verify_log_has_beginning(s) && !s->begins_again && !s->log_verdict;
}

bool verify_can_begin_again(const struct verify_shard *s)
{
    return s->begins_again && s->has_store && !s->log_is_foreign;
}

static const char *of_log(const struct verify_shard *s)
{
    if (s->log_is_foreign)
        return "look with the version of Parley that wrote this log, or restore a copy of this folder; "
               "--repair "
               "does not touch a log that it cannot read";
    if (s->has_store)
        return "restore a copy of this folder; or --repair keeps what is good, puts the old segments aside "
               "and "
               "begins a new log behind them, and says what is lost";
    if (s->store_is_gone && verify_log_has_beginning(s))
        return "restore a copy of this folder; or --repair makes a new store from what is good of the log, "
               "then "
               "begins a new log behind it, and says what is lost";
    return "restore a copy of this folder; --repair can do nothing, because there is no store that could be "
           "opened, and the log alone does not have everything";
}

static const char *of_store(const struct verify_shard *s, char *text)
{
    if (!verify_log_has_all(s))
        return RESTORE;
    snprintf(text, VERIFY_TEXT_BYTES,
             "restore a copy of this folder; or move shard-%04u/store away, then --repair makes a new one "
             "from the "
             "log, which has everything from its first position",
             s->number);
    return text;
}

static const char *of_opening(const struct verify_shard *s)
{
    if (!s->store_is_gone)
        return "mend what the message says (rights, descriptors, the disk, the version), then look again; "
               "--repair "
               "leaves it as it is";
    if (verify_log_has_all(s))
        return "--repair puts it aside and makes a new one from the log, which has everything from its first "
               "position";
    if (verify_log_has_beginning(s))
        return "restore a copy of this folder; or --repair puts it aside and makes a new one from what is "
               "good of "
               "the log";
    return "restore a copy of this folder; --repair can do nothing, because the log does not reach back to "
           "its "
           "first position";
}

const char *verify_remedy_text(const struct verify_shard *s, enum verify_kind kind,
                               char text[VERIFY_TEXT_BYTES])
{
    switch (verify_kind_remedy(kind)) {
    case VERIFY_REMEDY_RESTORE:
        break;
    case VERIFY_REMEDY_LOG:
        return of_log(s);
    case VERIFY_REMEDY_STORE:
        return of_store(s, text);
    case VERIFY_REMEDY_OPEN:
        return of_opening(s);
    case VERIFY_REMEDY_VERSION:
        return "look with the version of Parley that wrote it, or restore a copy of this folder; --repair "
               "leaves it "
               "as it is";
    case VERIFY_REMEDY_REPAIR:
        return "nothing is lost: --repair makes it again";
    case VERIFY_REMEDY_SOURCE:
        return "it stays as it is; when the shard of the conversation is whole, --repair can decide";
    case VERIFY_REMEDY_NONE:
        return "it is not used, and stays";
    }
    return RESTORE;
}

/* ---- what a new log costs */

static uint64_t redo_of(const struct verify_shard *s)
{
    return s->position.redo ? s->position.redo : 1;
}

uint64_t verify_begins_at(const struct verify_shard *s)
{
    uint64_t at = s->log_report.seen_end > s->log_report.end ? s->log_report.seen_end : s->log_report.end;
    if (redo_of(s) > at)
        at = redo_of(s);
    if (s->position.max_position >= at)
        at = s->position.max_position + 1;
    if (s->row_position >= at)
        at = s->row_position + 1;
    for (uint32_t d = 0; d < s->verify->folder.shard_count; d++)
        if (s->verify->shards[d].offsets[s->number] > at)
            at = s->verify->shards[d].offsets[s->number];
    return at;
}

static void tell(const struct verify_shard *s, struct verify_loss loss, bool done)
{
    loss.shard = s->number;
    loss.done = done;
    if (s->verify->report->on_loss)
        s->verify->report->on_loss(s->verify->report->owner, &loss);
}

void verify_tell_losses(const struct verify_shard *s, bool done)
{
    const struct log_report *log = &s->log_report;
    uint64_t redo = redo_of(s), at = verify_begins_at(s), from = log->end > redo ? log->end : redo;
    if (redo < log->start)
        tell(s,
             (struct verify_loss){.first = redo,
                                  .last = log->start - 1,
                                  .events = log->start - redo,
                                  .id_last = s->log_first_id ? s->log_first_id - 1 : log->seen_ceiling,
                                  .why = "the log begins behind them, and the store may lack them"},
             done);
    if (s->skipped.count)
        tell(s,
             (struct verify_loss){.first = s->skipped.first,
                                  .last = s->skipped.last,
                                  .events = s->skipped.count,
                                  .id_first = s->skipped.first_id,
                                  .id_last = s->skipped.last_id,
                                  .why =
                                      "the log has them, but what they change cannot be read, or lacks what "
                                      "came before"},
             done);
    if (from < at)
        tell(s,
             (struct verify_loss){.first = from,
                                  .last = at - 1,
                                  .events = at - from,
                                  .id_first = s->log_last_id ? s->log_last_id + 1 : 0,
                                  .id_last = log->seen_ceiling > s->row_id ? log->seen_ceiling : s->row_id,
                                  .why = "they cannot be read from the log, and the store may lack them"},
             done);
}
