using System.CommandLine;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Imaging;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train classifier</c>: the judge of <c>evaluate</c>.</summary>
internal sealed class TrainClassifierVerb : TrainVerb
{
    public TrainClassifierVerb()
        : base(
            "classifier", "Trains the judge of 'evaluate': a small network that names the class of a picture. It sees real pictures only.",
            "train classifier --out judge --steps 1500 --batch 32",
            "train classifier --data photos --size 64 --out judge")
    {
        AddCommonSettings();
    }

    protected override string ModelFile => "classifier.safetensors";

    protected override (string Name, string Label, Func<double, string> Write) Measure { get; } =
        ("accuracy", "share of pictures named right", value => $"{Units.Percent(value)} right");

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        CheckpointView? from = OpenFrom(options, file => [file.Root]);
        using Checkpoint? file = from?.Checkpoint;
        IImageDataset data = OpenData(options, ClassifierNetwork.DownSampling, cancellation);
        if (data.Classes.Count < 2)
        {
            throw new UserException($"--data has one class only, '{data.Classes[0]}'; a classifier needs at least 2 class folders");
        }

        TrainingOptions common = CommonOptions(options);
        var trainer = new ClassifierTrainer(new ClassifierNetwork(data.Classes.Count, common.Seed, from), data, common, kernels);
        return new Stage(trainer, data, new JsonObject
        {
            ["class_names"] = new JsonArray([.. data.Classes.Select(name => (JsonNode)name)]),
            ["height"] = data.Height,
            ["width"] = data.Width,
        });
    }

    protected override RgbImage? DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation) => null;
}
