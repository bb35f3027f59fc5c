/* help_fit.c - the texts of `emr fit --help` and of its commands. */
#include "cli.h"

#include <string.h>

static const char overview[] =
    "emr fit - merging with a few unlabelled samples: networks that averaging ruins\n"
    "\n"
    "  emr fit spec MODEL -o SPEC.json                     which axes belong together, derived for a model\n"
    "  emr fit match A B [--gram G] -o PERMUTATION.safetensors  which unit of B is which of A's\n"
    "  emr fit permute MODEL (--permutation P | --random SEED) -o OUT  a model with units in another order\n"
    "  emr fit regmean --task NAME=CHECKPOINT --gram NAME=G ... -o OUT  each layer by least squares\n"
    "  emr fit pleas A B [--gram G] [--pairs GROUP=N] -o OUT  units that are alike merged, layers solved\n"
    "  emr fit zip A B [...] [--gram G] -o OUT             the most similar units of all models put "
    "together\n"
    "  emr fit spectral --method tsv_m|iso_c --base BASE --task ... -o OUT  whole matrices, without samples\n"
    "  emr fit coefficients --base BASE --task ... --state S -o OUT  what AdaMerging learned, as a "
    "checkpoint\n"
    "  emr fit surgery --merged X --individual Z --place NAME -o OUT  an adapter behind a merged model\n"
    "\n"
    "A gram G (.safetensors) has second moments of a model's activations, which a host collected with "
    "libemr-fit\n"
    "(docs/fitting.md). For regmean it is of one model, on its own data; for the others of all models, in "
    "the order\n"
    "in which they are given, on the same samples.\n"
    "emr fit COMMAND --help tells more. Checkpoints and exit statuses are those of emr --help.\n";

#define SPEC_OPTIONS                                                                                         \
    "  --spec SPEC.json                which axes belong together; else derived from the first model's "     \
    "names, shapes\n"                                                                                        \
    "                                  and config.json\n"                                                    \
    "  --residual                      when deriving: the residual stream is a group too\n"

#define DTYPE_OPTION                                                                                         \
    "  --out-dtype f32|f16|bf16        stored type of floats (the first model's); config.json says the "     \
    "same\n"
#define OUT_OPTIONS                                                                                          \
    "  --dequantise                    read quantised tensors as F32\n"                                      \
    "  --shard-size SIZE               write shards of at most this size and their index\n"                  \
    "  --memory SIZE                   cap on working memory: half for computing, half for writing; grams "  \
    "are beside it\n"                                                                                        \
    "  --threads N                     (all online processors)\n"                                            \
    "  --force                         overwrite the output; in a folder also remove weights of an earlier " \
    "model\n"                                                                                                \
    "  --json, --quiet, --help\n"

static const char spec_help[] =
    "emr fit spec MODEL [--residual] -o SPEC.json\n"
    "emr fit spec MODEL [--spec SPEC.json] --dry-run\n"
    "\n"
    "Writes the permutation spec of a model: which axes of its tensors are the same hidden units, and its "
    "linear\n"
    "layers with the sites of their inputs. It is derived for multi-layer perceptrons (fc0, fc1, ...), "
    "BERT,\n"
    "RoBERTa, GPT-2, Llama, Mistral, Qwen2, Qwen3, ViT and ResNets; for others, write one by hand "
    "(docs/fitting.md)\n"
    "and see by --dry-run whether it fits. It is right when emr fit permute --random changes no output.\n"
    "\n"
    "  -o SPEC.json                    the spec; - is standard output\n" SPEC_OPTIONS
    "  --dry-run                       list the groups; with --spec, of that one, checked against the model\n"
    "  --dequantise                    read quantised tensors as F32\n"
    "  --force                         overwrite the output\n"
    "  --json, --quiet, --help\n";

static const char match_help[] =
    "emr fit match A B [--gram G] -o PERMUTATION.safetensors [--aligned OUT.safetensors|DIR/]\n"
    "\n"
    "Finds the permutation of B's hidden units that brings it nearest to A. B in that order computes what B "
    "does;\n"
    "it can then be averaged with A (emr combine).\n"
    "\n"
    "  --by weights|activations|both   what units are compared by: weights (Git Re-Basin) without --gram, "
    "activations\n"
    "                                  with it; both (MuDSC)\n"
    "  --gram FILE                     second moments of A and B on the same samples; repeatable: they add "
    "up\n"
    "  --balance X                     both: the weights' share, from 0 to 1 (0.5)\n"
    "  --similarity inner|correlation  inner products, or Pearson's correlation (both: correlation, else "
    "inner)\n"
    "  --start PERMUTATION             begin there\n"
    "  --seed N                        groups in random orders (0: in the spec's)\n"
    "  --rounds N                      at most so many (100)\n"
    "  --patience N                    with correlations: rounds that may be no better than the best (5)\n"
    "  --aligned OUT                   write B in A's order too, or instead of -o\n" SPEC_OPTIONS OUT_OPTIONS;

static const char permute_help[] =
    "emr fit permute MODEL (--permutation FILE | --random SEED) -o OUT.safetensors|DIR/\n"
    "\n"
    "Writes a model with its hidden units in another order: it computes the same.\n"
    "\n"
    "  --permutation FILE              as emr fit match writes it\n"
    "  --random SEED                   every group in a random order, to try whether a spec is right\n"
    "  --inverse                       the order that undoes it\n" SPEC_OPTIONS OUT_OPTIONS;

static const char regmean_help[] =
    "emr fit regmean --task [NAME=]CHECKPOINT[:WEIGHT] --gram NAME=FILE [--task ... --gram ...] "
    "-o OUT.safetensors|DIR/\n"
    "\n"
    "RegMean: each linear layer becomes the one whose outputs are nearest to all models' own, on their own "
    "inputs;\n"
    "all else is averaged. Files beside the weights are the first task's.\n"
    "\n"
    "  --task [NAME=]CHECKPOINT[:WEIGHT]  a model, and how much it counts (1); repeatable\n"
    "  --gram NAME=FILE                second moments of a task's model on its own data; repeatable: they "
    "add up\n"
    "  --off-diagonal X                scale of the moments off the diagonal, from 0 to 1 (0.9)\n"
    "  --ridge X                       times the diagonal, added to it (0)\n"
    "  --bias mean|fit                 biases are averaged (mean: the paper), or solved with the weights\n"
    "  --weigh models|rows             all models count the same (models), or by their numbers of samples\n"
    "  --exclude GLOB                  tensors to leave out, such as heads of different labels; repeatable\n"
    "  --tasks, --rename               as with emr merge\n"
    "  --dry-run                       tell which tensors are solved; write nothing\n" SPEC_OPTIONS
        DTYPE_OPTION OUT_OPTIONS;

static const char pleas_help[] =
    "emr fit pleas A B [--gram G] [--pairs GROUP=N|SHARE% ...] -o OUT.safetensors|DIR/\n"
    "\n"
    "PLeaS: pairs of units that are alike are merged, the others stay side by side, and each layer is solved "
    "so "
    "that its\n"
    "outputs are nearest to both models'. Without a gram, layers are merged and not solved. Files beside the "
    "weights are A's.\n"
    "\n"
    "  --gram FILE                     second moments of A and B on the same samples; repeatable: they add "
    "up\n"
    "  --permutation FILE              as emr fit match writes it; else units are matched, by activations "
    "where "
    "there is\n"
    "                                  a gram\n"
    "  --pairs GROUP=N, GROUP=SHARE%   how many pairs of a group are merged, by its name or a pattern; "
    "repeatable, "
    "the last\n"
    "                                  counts. All others are merged whole. 0 is both models side by side\n"
    "  --target ensemble|separate      outputs of both models together (ensemble), or each model's own\n"
    "  --ridge X                       times the diagonal, added to it (0)\n"
    "  --exclude GLOB                  tensors to leave out; repeatable\n"
    "  --dry-run                       tell which tensors are solved, and their shapes; write "
    "nothing\n" SPEC_OPTIONS DTYPE_OPTION OUT_OPTIONS;

static const char zip_help[] =
    "emr fit zip A B [C ...] [--gram G] -o OUT.safetensors|DIR/\n"
    "\n"
    "Puts the most similar of all units of all models together, also two of one, until as many are left as a "
    "model "
    "has\n"
    "(ZipIt, MuDSC). Heads and units in blocks are averaged as they are: align the models by emr fit match "
    "first.\n"
    "\n"
    "  --gram FILE                     second moments of all models on the same samples; repeatable: they "
    "add up\n"
    "  --balance X                     the weights' share of similarity, from 0 to 1 (0.5; without a gram "
    "1)\n"
    "  --shrink X                      how similar to others what was put together is, from 0 to 1 (0.5)\n"
    "  --within X                      how many of a model's merges may be of two of its own, as a share "
    "(1)\n"
    "  --seed N, --rounds N, --patience N\n"
    "                                  as with emr fit match\n" SPEC_OPTIONS DTYPE_OPTION OUT_OPTIONS;

static const char spectral_help[] =
    "emr fit spectral --method tsv_m|iso_c --base CHECKPOINT --task [NAME=]CHECKPOINT [--task ...] "
    "-o OUT.safetensors|DIR/\n"
    "\n"
    "Merges fine-tuned models by the singular values of whole matrices. It needs no samples, and a "
    "libemr-fit that "
    "was\n"
    "built with LAPACK. Files beside the weights are the base's.\n"
    "\n"
    "  --method tsv_m|iso_c            task singular vectors, or one singular value for all\n"
    "  --scale X                       of the change to the base (1)\n"
    "  --tasks, --rename, --no-side-files\n"
    "                                  as with emr merge\n" DTYPE_OPTION OUT_OPTIONS;

static const char coefficients_help[] =
    "emr fit coefficients --base CHECKPOINT --task NAME=CHECKPOINT [--task ...] --state STATE.safetensors "
    "-o OUT.safetensors|DIR/\n"
    "\n"
    "Writes the merged model of coefficients that were learned (AdaMerging), in C or in Python, and saved: "
    "the base and\n"
    "each task's change to it times its coefficients. The state says which tensors that are; all others are "
    "the base's,\n"
    "as are the files beside the weights.\n"
    "\n"
    "  --state FILE                    as emr_coefficients_open_state or Coefficients.save gave it\n"
    "  --task NAME=CHECKPOINT          all tasks of the state, by the names that they had there; in another "
    "order sums\n"
    "                                  are rounded otherwise\n"
    "  --tasks, --rename, --no-side-files\n"
    "                                  as with emr merge\n" OUT_OPTIONS;

static const char surgery_help[] =
    "emr fit surgery --merged X.safetensors --individual Z.safetensors --place NAME -o OUT.safetensors\n"
    "\n"
    "Surgery: fits an adapter y = x - U relu(D x), which brings features of a merged model nearer to a "
    "task's "
    "own.\n"
    "OUT has D as NAME.down.weight and U as NAME.up.weight, in F32.\n"
    "\n"
    "  --merged FILE                   features x of the merged model\n"
    "  --individual FILE               features z of the task's own model, of the same samples in the same "
    "order\n"
    "  --features TENSOR               which tensor of both files: floats of [..., width] (features)\n"
    "  --place NAME                    the adapter's name: TASK.final, TASK.block.0\n"
    "  --rank N                        of the adapter (16)\n"
    "  --steps N                       of Adam (1000)\n"
    "  --batch N                       samples in a step (16)\n"
    "  --rate X                        learning rate (0.001)\n"
    "  --loss l1|squared               mean of |y - z| (l1), or of its square\n"
    "  --seed N                        of D and of the samples' order (0)\n"
    "  --threads N                     (all online processors)\n"
    "  --force                         overwrite the output\n"
    "  --json, --quiet, --help\n";

const char *fit_help(const char *command)
{
    static const struct {
        const char *command, *text;
    } texts[] = {
        {"fit", overview},
        {"fit spec", spec_help},
        {"fit match", match_help},
        {"fit permute", permute_help},
        {"fit regmean", regmean_help},
        {"fit pleas", pleas_help},
        {"fit zip", zip_help},
        {"fit spectral", spectral_help},
        {"fit coefficients", coefficients_help},
        {"fit surgery", surgery_help},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].command, command) == 0)
            return texts[i].text;
    return NULL;
}
