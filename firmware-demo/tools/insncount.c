/* Counts every guest instruction that QEMU executes. Writes the count so far each time the
 * instruction at ADDRESS is executed, and the total when QEMU ends, one number per line.
 *
 *   cc -O2 -shared -fPIC -o insncount.so insncount.c
 *   qemu-system-arm ... -plugin ./insncount.so,out=FILE[,mark=ADDRESS]
 *
 * QEMU's Cortex-M has no instruction or cycle counter that a program could read, hence this.
 *
 * Distributions ship QEMU without qemu-plugin.h, so the few declarations of plugin API version 1
 * (QEMU 4.2 to 8.x) stand here. Later versions have other functions and refuse this plugin;
 * check.sh then leaves the count out. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
enum plugin_op { ADD_U64 };
enum plugin_flags { NO_REGISTERS };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            void (*)(unsigned, void *), enum plugin_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum plugin_op, void *,
                                                uint64_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t total;
static uint64_t mark = UINT64_MAX;
static FILE *out;

static void write_count(unsigned cpu, void *unused)
{
    (void)cpu;
    (void)unused;
    fprintf(out, "%" PRIu64 "\n", total);
}

/* Called once per translated block. An addition per instruction, not per block: a block can be left
 * early by a fault. */
static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        if (qemu_plugin_insn_vaddr(insn) == mark)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, write_count, NO_REGISTERS, NULL);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &total, 1);
    }
}

static void finished(plugin_id id, void *unused)
{
    (void)id;
    write_count(0, unused);
    fclose(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info,
                                                               int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4) && !out)
            out = fopen(argv[i] + 4, "w");
        else if (!strncmp(argv[i], "mark=", 5))
            mark = strtoull(argv[i] + 5, NULL, 0);
        else
            out = NULL;
        if (!out) {
            fprintf(stderr, "insncount: the options are out=FILE,mark=ADDRESS\n");
            return 1;
        }
    }
    if (!out)
        out = stderr;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
