/* Counts every guest instruction that QEMU executes.
 *
 *   cc -O2 -shared -fPIC -o insncount.so insncount.c
 *   qemu-... -plugin ./insncount.so,out=FILE[,mark=ADDRESS][,within=START+BYTES]...
 *
 * FILE gets one line for each of these:
 *
 *   - "N": the instruction at ADDRESS was executed; N instructions so far;
 *   - "region N": a region of the program ended that took N instructions;
 *   - "unpaired": a region began or ended twice;
 *   - "N", as the last line: the total.
 *
 * With `within`, a second number in the lines "N" tells how many of them lay in these functions.
 *
 * A region lies between two instructions that do nothing and that no compiler emits. They are not
 * counted themselves:
 *
 *   Arm M-profile   mov r9, r9            mov r10, r10
 *   AArch64         mov x9, x9            mov x10, x10
 *   RISC-V          slti x0, x0, 0x51     slti x0, x0, 0x52
 *
 * QEMU's Cortex-M has no instruction or cycle counter that a program could read, hence this.
 *
 * Distributions ship QEMU without qemu-plugin.h, so the few declarations of plugin API version 1
 * (QEMU 4.2 to 8.x) stand here. Later versions have other functions and refuse this plugin. */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct plugin_info {
    const char *target;
    /* More follows that is not needed here. */
};
typedef uint64_t plugin_id;
typedef void (*callback)(unsigned, void *);
enum plugin_op { ADD_U64 };
enum plugin_flags { NO_REGISTERS };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, callback, enum plugin_flags,
                                            void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum plugin_op, void *,
                                                uint64_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* What begins and ends a region: so many bytes, in the lower bytes of a word. */
struct markers {
    const char *target;
    size_t bytes;
    uint32_t begin, end;
};

static const struct markers known_markers[] = {
    /* Two bytes whatever the size says: QEMU 7.2 gives four for a short Thumb instruction that
     * lies four bytes before the end of a page. */
    { "arm", 2, 0x46c9, 0x46d2 },
    { "aarch64", 4, 0xaa0903e9, 0xaa0a03ea },
    { "riscv32", 4, 0x05102013, 0x05202013 },
    { "riscv64", 4, 0x05102013, 0x05202013 },
};

static const struct markers *markers;
static uint64_t total, region_start;
static bool in_region;
static uint64_t mark = UINT64_MAX;
static FILE *out;

/* Some functions, and the instructions executed in them. */
static struct range {
    uint64_t start, bytes;
} ranges[64];
static size_t range_count;
static uint64_t inside;

static bool is_inside(uint64_t address)
{
    for (size_t i = 0; i < range_count; i++)
        if (address - ranges[i].start < ranges[i].bytes)
            return true;
    return false;
}

static void write_count(unsigned cpu, void *unused)
{
    (void)cpu;
    (void)unused;
    if (range_count)
        fprintf(out, "%" PRIu64 " %" PRIu64 "\n", total, inside);
    else
        fprintf(out, "%" PRIu64 "\n", total);
}

static void begin_region(unsigned cpu, void *unused)
{
    (void)cpu;
    (void)unused;
    if (in_region)
        fprintf(out, "unpaired\n");
    in_region = true;
    region_start = total;
}

static void end_region(unsigned cpu, void *unused)
{
    (void)cpu;
    (void)unused;
    if (in_region)
        fprintf(out, "region %" PRIu64 "\n", total - region_start);
    else
        fprintf(out, "unpaired\n");
    in_region = false;
}

/* What to call at this instruction if it is a marker. */
static callback marker(const struct qemu_plugin_insn *insn)
{
    uint32_t word = 0;
    if (!markers || qemu_plugin_insn_size(insn) < markers->bytes)
        return NULL;
    memcpy(&word, qemu_plugin_insn_data(insn), markers->bytes);
    return word == markers->begin ? begin_region : word == markers->end ? end_region : NULL;
}

/* Adds `count` to both totals, or to that of all instructions only, when `insn` is executed. */
static void add_at(struct qemu_plugin_insn *insn, uint64_t count, bool is_in)
{
    if (!count)
        return;
    qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &total, count);
    if (is_in)
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &inside, count);
}

/* Called once per translated block. One addition for each run of instructions between two places where
 * somebody looks at the totals, which is some times faster than one for each instruction. A fault within
 * a block would be counted wrongly; these programs end at their first one. */
static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    struct qemu_plugin_insn *first = NULL;
    uint64_t run = 0;
    bool run_is_inside = false;
    size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        callback at_marker = marker(insn);
        callback here = at_marker ? at_marker : address == mark ? write_count : NULL;
        if (here || is_inside(address) != run_is_inside) {
            add_at(first, run, run_is_inside);
            run = 0;
            run_is_inside = is_inside(address);
        }
        if (here)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, here, NO_REGISTERS, NULL);
        if (at_marker)
            continue;
        if (!run++)
            first = insn;
    }
    add_at(first, run, run_is_inside);
}

/* Reads START+BYTES. */
static bool add_range(const char *text)
{
    char *end;
    if (range_count == sizeof ranges / sizeof *ranges)
        return false;
    struct range *range = &ranges[range_count++];
    range->start = strtoull(text, &end, 0);
    if (*end != '+')
        return false;
    range->bytes = strtoull(end + 1, &end, 0);
    return !*end;
}

static void finished(plugin_id id, void *unused)
{
    (void)id;
    if (in_region)
        fprintf(out, "unpaired\n");
    write_count(0, unused);
    fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id,
                                                               const struct plugin_info *info,
                                                               int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4) && !out)
            out = fopen(argv[i] + 4, "w");
        else if (!strncmp(argv[i], "mark=", 5))
            mark = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "within=", 7) && add_range(argv[i] + 7))
            continue;
        else
            out = NULL;
        if (!out) {
            fprintf(stderr, "insncount: the options are out=FILE,mark=ADDRESS,within=START+BYTES\n");
            return 1;
        }
    }
    if (!out)
        out = stderr;
    for (size_t i = 0; i < sizeof known_markers / sizeof *known_markers; i++)
        if (!strcmp(info->target, known_markers[i].target))
            markers = &known_markers[i];
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
