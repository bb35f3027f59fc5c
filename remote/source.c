/* source.c - names and folders. A server lists no folder, so each name is tried that loaders look for. */
#include "remote.h"

#include <stdlib.h>
#include <string.h>

static const char *const usual_names[] = {"model.safetensors",
                                          "model.safetensors.index.json",
                                          "adapter_model.safetensors",
                                          "adapter_config.json",
                                          "diffusion_pytorch_model.safetensors",
                                          "diffusion_pytorch_model.safetensors.index.json",
                                          "pytorch_lora_weights.safetensors",
                                          "config.json",
                                          "generation_config.json",
                                          "tokenizer.json",
                                          "tokenizer_config.json",
                                          "special_tokens_map.json",
                                          "added_tokens.json",
                                          "vocab.json",
                                          "vocab.txt",
                                          "merges.txt",
                                          "tokenizer.model",
                                          "spiece.model",
                                          "sentencepiece.bpe.model",
                                          "chat_template.jinja",
                                          "chat_template.json",
                                          "preprocessor_config.json",
                                          "processor_config.json",
                                          "video_preprocessor_config.json",
                                          "modules.json",
                                          "2_Dense/model.safetensors",
                                          "2_Dense/pytorch_model.bin",
                                          "sentence_bert_config.json",
                                          "config_sentence_transformers.json",
                                          "1_Pooling/config.json"};

enum { N_USUAL = sizeof usual_names / sizeof usual_names[0] };

static remote_file *find_in(emr_remote *r, const char *folder, const char *name, emr_error *error)
{
    size_t n = strlen(folder), m = strlen(name);
    bool has_slash = n && folder[n - 1] == '/';
    char *joined = malloc(n + m + 2);
    if (!joined) {
        emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
        return NULL;
    }
    memcpy(joined, folder, n);
    joined[n] = '/';
    memcpy(joined + n + !has_slash, name, m + 1);
    remote_file *f = remote_find_file(r, joined, error);
    free(joined);
    return f;
}

/* Without a right to list, s3 says of what is absent that it may not be seen. */
static bool may_be_absent(const remote_file *f)
{
    return f->look == REMOTE_ABSENT || (f->is_s3 && f->look == REMOTE_REFUSED);
}

static emr_status look_at_all(emr_remote *r, const char *folder, bool present[N_USUAL], emr_error *error)
{
    remote_file *files[N_USUAL];
    size_t n = 0, n_present = 0;
    while (n < N_USUAL && (files[n] = find_in(r, folder, usual_names[n], error)))
        remote_begin_look(files[n++]);
    emr_status status = n < N_USUAL ? error->status : EMR_OK;
    for (size_t i = 0; i < n; i++) {
        remote_file *f = files[i];
        remote_end_look(f);
        present[i] = f->look == REMOTE_PRESENT;
        n_present += present[i];
        if (status || f->look == REMOTE_PRESENT || may_be_absent(f))
            continue;
        status = f->first.status;
        *error = f->first.error;
        f->look = REMOTE_UNSEEN;
    }
    if (!status && !n_present && files[0]->look == REMOTE_REFUSED) {
        status = files[0]->first.status;
        *error = files[0]->first.error;
    }
    return status;
}

emr_status remote_list(void *user, const char *folder, emr_found_fn found, void *found_user, emr_error *error)
{
    emr_remote *r = user;
    bool present[N_USUAL];
    pthread_mutex_lock(&r->mutex);
    emr_status status = look_at_all(r, folder, present, error);
    pthread_mutex_unlock(&r->mutex);
    for (size_t i = 0; !status && i < N_USUAL; i++)
        if (present[i] && strncmp(usual_names[i], "2_Dense/", 8) == 0)
            status = emr_error_set(
                error, EMR_EUNSUPPORTED, 0, folder,
                "a model with weights of its own in 2_Dense/, which are not read with those beside "
                "it: read it from a copy on a disk");
    for (size_t i = 0; !status && i < N_USUAL; i++)
        if (present[i])
            found(found_user, usual_names[i]);
    return status;
}

emr_source_kind remote_kind(void *user, const char *name)
{
    emr_remote *r = user;
    emr_error ignored;
    size_t n = strlen(name);
    if (n && name[n - 1] == '/')
        return EMR_SOURCE_KIND_FOLDER;
    pthread_mutex_lock(&r->mutex);
    remote_file *f = remote_find_file(r, name, &ignored);
    emr_source_kind kind = EMR_SOURCE_KIND_UNKNOWN;
    if (f) {
        remote_begin_look(f);
        remote_end_look(f);
        if (f->look == REMOTE_PRESENT || f->look == REMOTE_ABSENT)
            kind = f->look == REMOTE_PRESENT ? EMR_SOURCE_KIND_FILE : EMR_SOURCE_KIND_ABSENT;
    }
    pthread_mutex_unlock(&r->mutex);
    return kind;
}
