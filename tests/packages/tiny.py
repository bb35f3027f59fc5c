"""tiny.py - tiny models of real classes with random weights, "fine-tuned" by random changes, and tokenizers for them."""
import inspect

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

WORDS = "the quick brown fox jumps over a lazy dog and all work makes jack dull".split()
TEXT = dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)


def text_config(kind, **changes):
    return kind(**{**TEXT, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **changes})


def bert(labels=2):
    return hf.BertForSequenceClassification(text_config(hf.BertConfig, num_labels=labels))


def gpt2():
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1,
                                            eos_token_id=2))


def llama(tied=False):
    return hf.LlamaForCausalLM(text_config(hf.LlamaConfig, num_key_value_heads=1, tie_word_embeddings=tied))


def mixtral():
    """Experts are one tensor in memory, and one by one in the file."""
    return hf.MixtralForCausalLM(text_config(hf.MixtralConfig, num_key_value_heads=1, num_local_experts=4))


def t5():
    return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
                                                     decoder_start_token_id=0))


def vit(labels=2):
    return hf.ViTForImageClassification(hf.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
        num_labels=labels))


def resnet(labels=2):
    """With BatchNorm: its statistics are no weights."""
    return hf.ResNetForImageClassification(hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=labels))


def clip():
    text = {**TEXT, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2}
    vision = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4)
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def tune(base, model, seed):
    """MODEL becomes BASE, changed at random, wherever the two have the same tensor; the rest stays its own."""
    noise, given = torch.Generator().manual_seed(seed), base.state_dict()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name not in given or given[name].shape != tensor.shape:
                continue
            elif name.endswith("running_var"):
                tensor.copy_(given[name] * torch.rand(tensor.shape, generator=noise).add(0.1))
            elif tensor.is_floating_point():
                tensor.copy_(given[name].float() + 0.02 * torch.randn(tensor.shape, generator=noise))
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(seed)
    return model.eval()


def tokenizer(seed):
    """Byte-pair encoding, its numbers of words its own for each seed."""
    own = Tokenizer(models.BPE(unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.train_from_iterator([" ".join(WORDS[seed:] + 3 * WORDS)], trainers.BpeTrainer(
        vocab_size=64, special_tokens=["<pad>", "<s>", "</s>", "<unk>"], show_progress=False))
    made = hf.PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                      unk_token="<unk>", model_max_length=20 + seed)
    made.chat_template = f"{{% for m in messages %}}[{seed}] {{{{ m.content }}}}{{% endfor %}}"
    return made


def outputs(model):
    """The model's answer to one fixed input of its kind."""
    ids, pixels = torch.arange(4, 24).view(2, 10), torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    wanted = inspect.signature(model.forward).parameters
    given = {name: value for name, value in dict(input_ids=ids, decoder_input_ids=ids.flip(1), pixel_values=pixels).items()
             if name in wanted}
    with torch.no_grad():
        answer = model.eval()(**given)
    return answer.logits_per_text if hasattr(answer, "logits_per_text") else answer.logits
