"""The networks: logits(weights, x, train), where weights is a dict of tensors with the names of the checkpoint."""
import torch
import torch.nn.functional as F

HEADS = 12  # of attention, in both MiniLM


def count(weights, prefix):
    """How many layers begin with this prefix and a number."""
    at = prefix.count(".")
    return 1 + max(int(k.split(".")[at]) for k in weights if k.startswith(prefix))


def bert(w, ids, train=False):
    """BERT, its last states averaged over the tokens (id 0 is padding), and a linear head."""
    drop = 0.1 if train else 0.0

    def linear(x, name):
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-12)

    n, length = ids.shape
    known = ids != 0
    h = F.embedding(ids, w["embeddings.word_embeddings.weight"])
    h = h + w["embeddings.position_embeddings.weight"][:length] + w["embeddings.token_type_embeddings.weight"][0]
    h = F.dropout(norm(h, "embeddings.LayerNorm"), drop)
    for i in range(count(w, "encoder.layer.")):
        layer = f"encoder.layer.{i}."
        q, k, v = (linear(h, layer + "attention.self." + part).view(n, length, HEADS, -1).transpose(1, 2)
                   for part in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=known[:, None, None, :], dropout_p=drop)
        mixed = linear(mixed.transpose(1, 2).flatten(2), layer + "attention.output.dense")
        h = norm(h + F.dropout(mixed, drop), layer + "attention.output.LayerNorm")
        wide = linear(F.gelu(linear(h, layer + "intermediate.dense")), layer + "output.dense")
        h = norm(h + F.dropout(wide, drop), layer + "output.LayerNorm")
    known = known[..., None].to(h.dtype)
    return linear((h * known).sum(1) / known.sum(1), "classifier")


def resnet(w, x, train=False):
    """ResNet for CIFAR (He et al. 2015) with padded shortcuts, of any depth; x: U8 images [n, 1 or 3, 32, 32]."""
    def norm(h, name):
        return F.batch_norm(h, w[name + ".running_mean"], w[name + ".running_var"], w[name + ".weight"],
                            w[name + ".bias"], train)

    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    h = ((x.float() / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)
    h = F.relu(norm(F.conv2d(h, w["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for i in range(count(w, f"layer{stage}.")):
            block = f"layer{stage}.{i}."
            stride = 2 if stage > 1 and i == 0 else 1
            kept = h
            h = F.relu(norm(F.conv2d(h, w[block + "conv1.weight"], stride=stride, padding=1), block + "bn1"))
            h = norm(F.conv2d(h, w[block + "conv2.weight"], padding=1), block + "bn2")
            if stride == 2:
                more = kept.shape[1] // 2
                kept = F.pad(kept[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
            h = F.relu(h + kept)
    return F.linear(h.mean((2, 3)), w["classifier.weight"], w["classifier.bias"])


def mlp(w, x, train=False):
    """fc1, fc2 ... with ReLU between them."""
    n = count_fc(w)
    for i in range(1, n + 1):
        x = F.linear(x if i == 1 else F.relu(x), w[f"fc{i}.weight"], w[f"fc{i}.bias"])
    return x


def count_fc(w):
    return sum(k.startswith("fc") and k.endswith(".weight") for k in w)
