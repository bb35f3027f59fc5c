/* help.c - the texts of --help. */
#include "cli.h"

#include <string.h>

static const char program_help[] =
    "emr - many fine-tuned models in one bundle (EMR-Merging: elect, mask & rescale)\n"
    "\n"
    "  emr merge --base CHECKPOINT --task [NAME=]CHECKPOINT [--task ...] -o OUT.emr\n"
    "  emr apply BUNDLE --task NAME [--base CHECKPOINT] -o OUT.safetensors|DIR/\n"
    "  emr inspect FILE\n"
    "  emr verify BUNDLE [--base CHECKPOINT]\n"
    "  emr export BUNDLE (--unified | --mask NAME) -o OUT.safetensors\n"
    "  emr add BUNDLE --base CHECKPOINT --task [NAME=]CHECKPOINT -o OUT.emr\n"
    "  emr drop BUNDLE --task NAME -o OUT.emr\n"
    "\n"
    "A CHECKPOINT is a .safetensors file, a *.safetensors.index.json, a .gguf file, or a directory holding "
    "one of\n"
    "them, such as an adapter that PEFT saved. --base zeros (a word; ./zeros is a path) is a base of zeros, "
    "for "
    "adapters.\n"
    "Everywhere: --json (result on standard output), --quiet, --help, --version. emr COMMAND --help tells "
    "more.\n"
    "Exit status: 0 done, 1 the data is wrong, 2 the call is wrong, 3 I/O failed or no memory, 130 "
    "interrupted.\n";

static const char merge_help[] =
    "emr merge --base CHECKPOINT --task [NAME=]CHECKPOINT [--task ...] -o OUT.emr\n"
    "\n"
    "Merges checkpoints that were fine-tuned from one base into a bundle. -o - writes to standard output.\n"
    "\n"
    "  --base zeros                    zeros for the first task's float tensors, for adapters: embedded, so "
    "that emr apply\n"
    "                                  needs no --base (a word; ./zeros is a path)\n"
    "  --base ones                     the same, but ones for (IA)^3's vectors\n"
    "  --apply-adapters                merge what the base becomes with each task that is an adapter\n"
    "  --adapter-differ KEY            a key of adapter_config.json in which adapters may differ; "
    "repeatable\n"
    "  --task CHECKPOINT               a task named after its file or folder; or NAME=CHECKPOINT; "
    "repeatable\n"
    "  --tasks FOLDER|'PATTERN'|@FILE  all checkpoints in a folder, or those whose names match; or a list, a "
    "line "
    "a task\n"
    "  --rename [TASK:]OLD=NEW         merge tensors whose names begin with OLD (or match it, with one *) "
    "under "
    "other names:\n"
    "                                  of all tasks, of one, or of the base (base:OLD=NEW); @FILE: a rule a "
    "line; "
    "repeatable\n"
    "  --rescale l1|l1-means|l2        how rescalers are computed (l1: the paper)\n"
    "  --rescale-per model|tensor|row  one rescaler for what (model: the paper)\n"
    "  --tie zero|negative             what a sum of exactly 0 elects (zero: the paper)\n"
    "  --merge GLOB                    tensors to merge although they are no weights (emr inspect tells); "
    "repeatable\n"
    "  --private GLOB                  tensors to keep out of the merge, each task its own; repeatable\n"
    "  --on-mismatch error|private|rows|pad\n"
    "                                  shapes differ between base and task (error); rows: merge the rows "
    "that "
    "all\n"
    "                                  have; pad: fill up with zeros, cut again\n"
    "  --on-missing error|base|absent  a tensor of the base is absent from a task (error); base: it is "
    "unchanged; "
    "absent: it\n"
    "                                  stays absent. base:GLOB and absent:GLOB say so of some tensors; "
    "repeatable\n"
    "  --on-nonfinite error|zero       NaN or infinity in a merged tensor (error)\n"
    "  --unified-dtype f32|f16|bf16    stored type of the unified task vector (f32)\n"
    "  --embed-base                    put the base into the bundle too\n"
    "  --extendable                    keep what emr add needs: about 8 bytes a parameter, before "
    "compression\n"
    "  --block-params N                parameters of a block, a power of two, 4K to 16M (256K): less for "
    "devices\n"
    "                                  with little memory\n"
    "  --zstd-level N                  0 (no compression) to 19 (1)\n"
    "  --dequantise                    merge quantised GGUF tensors (Q4_0 to Q8_0, Q2_K to Q6_K, IQ4), and "
    "FP8 "
    "and int8\n"
    "                                  with scales, as F32\n"
    "  --no-side-files                 leave the files beside the tasks' weights out (config.json, tokenizer "
    "files, ...)\n"
    "  --memory SIZE                   cap on working memory (256MiB)\n"
    "  --threads N                     (all online processors)\n"
    "  --resume                        go on where a run that was cut off came; give it from the first run "
    "on: what is\n"
    "                                  done is kept in OUT.emr.partial and OUT.emr.journal.partial until "
    "OUT.emr is whole\n"
    "  --resume-every SIZE             input read between two points to go on from (1GiB)\n"
    "  --dry-run                       print the plan: tensors, policies, bytes, peak memory; touch nothing\n"
    "  --force                         overwrite OUT.emr\n"
    "  --json, --quiet, --help\n";

static const char apply_help[] =
    "emr apply BUNDLE --task NAME [--base CHECKPOINT] -o OUT.safetensors|DIR/\n"
    "\n"
    "Rebuilds one task's model. The base must be the one the bundle was made with, which is checked; "
    "it may\n"
    "be left out if it is embedded; zeros stands for zeros. A folder DIR/ gets the weights and what lay "
    "beside the\n"
    "task's own (config.json, tokenizer files, ...), so that it loads as that did: an adapter as PEFT reads "
    "it.\n"
    "OUT.gguf instead is possible where the task's checkpoint was GGUF. -o - writes to standard output, as "
    "GGUF "
    "then.\n"
    "\n"
    "  --dequantise          as it was given to emr merge\n"
    "  --dtype f32|f16|bf16  float tensors come out in this type (the task checkpoint's own), and "
    "config.json "
    "says so\n"
    "  --shard-size SIZE     write shards of at most this size and their index; of GGUF, split files\n"
    "  --memory SIZE         cap on the writer's working memory (64MiB)\n"
    "  --threads N           (all online processors)\n"
    "  --force               overwrite the output; in a folder also remove weights of an earlier model\n"
    "  --json, --quiet, --help\n";

static const char add_help[] =
    "emr add BUNDLE --base CHECKPOINT --task [NAME=]CHECKPOINT [--task ...] -o OUT.emr\n"
    "\n"
    "Adds tasks to a bundle that was made with --extendable, without the checkpoints of its tasks: OUT.emr "
    "has the\n"
    "same bytes as merging all of them at once, with the options that the bundle was made with. The base "
    "must be the\n"
    "bundle's, and whole; zeros stands for zeros, if that is what the bundle was made with. -o - writes to "
    "standard output.\n"
    "\n"
    "  --task, --tasks, --rename\n"
    "                 as with emr merge (see emr merge --help)\n"
    "  --apply-adapters, --adapter-differ KEY   as with emr merge\n"
    "  --dequantise   as it was given to emr merge\n"
    "  --no-side-files\n"
    "  --memory SIZE  cap on working memory (256MiB)\n"
    "  --threads N    (all online processors)\n"
    "  --resume       go on where a run that was cut off came (see emr merge --help)\n"
    "  --resume-every SIZE\n"
    "  --dry-run      print the plan: tensors, policies, bytes, peak memory; touch nothing\n"
    "  --force        overwrite OUT.emr\n"
    "  --json, --quiet, --help\n";

static const char drop_help[] = "emr drop BUNDLE --task NAME [--task ...] -o OUT.emr\n"
                                "\n"
                                "Writes a bundle without these tasks. The weights of the others are "
                                "unchanged to the last bit; what merging anew\n"
                                "without them would change is told. Tasks cannot be added to the result. -o "
                                "- writes to standard output.\n"
                                "\n"
                                "  --force        overwrite OUT.emr, which may be BUNDLE\n"
                                "  --json, --quiet, --help\n";

static const char inspect_help[] =
    "emr inspect FILE\n"
    "\n"
    "What a bundle or a checkpoint holds: tensors, tasks, sizes, rescalers, densities.\n"
    "\n"
    "  --json, --quiet, --help\n";

static const char verify_help[] = "emr verify BUNDLE [--base CHECKPOINT]\n"
                                  "\n"
                                  "Checks every checksum of the bundle; with a base, that it is the one the "
                                  "bundle was made with, listing every\n"
                                  "tensor that differs; zeros stands for zeros.\n"
                                  "\n"
                                  "  --dequantise the base's quantised tensors, as with emr merge\n"
                                  "  --threads N  (all online processors)\n"
                                  "  --json, --quiet, --help\n";

static const char export_help[] =
    "emr export BUNDLE (--unified | --mask NAME) -o OUT.safetensors\n"
    "\n"
    "Writes the unified task vector (F32), or one task's mask (BOOL), one entry per merged tensor.\n"
    "\n"
    "  --memory SIZE, --threads N, --force, --json, --quiet, --help\n";

void print_help(FILE *out, const char *command)
{
    static const struct {
        const char *command, *text;
    } texts[] = {
        {"merge", merge_help},   {"apply", apply_help}, {"inspect", inspect_help}, {"verify", verify_help},
        {"export", export_help}, {"add", add_help},     {"drop", drop_help},
    };
    const char *text = program_help;
    for (size_t i = 0; command && i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].command, command) == 0)
            text = texts[i].text;
    fputs(text, out);
}
