#include "src/verify/verify_report.h"

static const struct {
    const char *name;
    enum verify_severity severity;
    enum verify_remedy remedy;
} kinds[VERIFY_KIND_COUNT] = {
#define X(kind, name, severity, remedy) {name, VERIFY_##severity, VERIFY_REMEDY_##remedy},
    VERIFY_KINDS(X)
#undef X
};

const char *verify_kind_name(enum verify_kind kind)
{
    return kinds[kind].name;
}

enum verify_severity verify_kind_severity(enum verify_kind kind)
{
    return kinds[kind].severity;
}

enum verify_remedy verify_kind_remedy(enum verify_kind kind)
{
    return kinds[kind].remedy;
}

const char *verify_severity_name(enum verify_severity severity)
{
    static const char *const names[] = {
        [VERIFY_DAMAGE] = "damage", [VERIFY_DERIVED] = "derived", [VERIFY_NOTE] = "note"};
    return names[severity];
}

uint64_t verify_report_count(const struct verify_report *report, enum verify_severity severity)
{
    uint64_t count = 0;
    for (int kind = 0; kind < VERIFY_KIND_COUNT; kind++)
        count += kinds[kind].severity == severity ? report->counts[kind] : 0;
    return count;
}

void verify_report_find(struct verify_report *report, const struct verify_finding *finding)
{
    report->counts[finding->kind]++;
    report->on_finding(report->owner, finding);
}

void verify_report_looked(struct verify_report *report)
{
    report->looked_at++;
    if (report->on_progress)
        report->on_progress(report->owner, report->looked_at);
}
