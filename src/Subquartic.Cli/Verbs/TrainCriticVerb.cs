using System.CommandLine;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train critic</c>: what chooses between several beginnings of a picture.</summary>
internal sealed class TrainCriticVerb : TrainVerb
{
    private static readonly TrainingOptions Defaults = new() { Batch = 32, Steps = 2000, LearningRate = 1e-3, WarmUp = 50, AverageDecay = 0.99 };

    private readonly Option<DirectoryInfo> _model = new("--model", "-m")
    {
        Description = "Folder of the model whose drawings it learns to tell from real pictures.",
        HelpName = "folder",
        Required = true,
    };

    private readonly Option<int> _scales = Whole(
        "--scales", "First token maps that it looks at; later ones it lets pass. [default: three quarters of them]", null, 1, 1024);

    private readonly Option<int> _drawEvery = Whole("--draw-every", "Of so many steps one draws new beginnings; the others show some that were drawn before.", 4, 1);

    private readonly Option<int> _candidates = Whole(
        "--candidates", "Beginnings of each picture from which it is to choose where 'generate' is not told otherwise.", 4, 1, GenerationRequest.MaxCandidates);

    public TrainCriticVerb()
        : base(
            "critic", "Trains a critic for a trained model: it chooses between several beginnings of a picture. Put its two files, critic.*, into the folder of the model.", Defaults,
            "train critic --model model --out critic",
            "train critic --model models/icons --scales 4 --candidates 8 --out critic --dtype f16")
    {
        Add(_model);
        AddFrom();
        AddSetting(_scales);
        AddSetting(_drawEvery);
        Add(_candidates);
        AddCommonSettings();
    }

    protected override string ModelFile => Critic.FileName;

    protected override (string Name, string Label, Func<double, string> Write) Measure { get; } =
        ("accuracy", "share of beginnings told apart", value => $"{Units.Percent(value)} told apart");

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        string path = options.GetRequiredValue(_model).ToString();
        using ModelFiles files = ModelFiles.Open(path);
        ScaleSchedule schedule = files.VarConfig.Scales;
        int scales = Given(options, _scales) ? options.GetValue(_scales) : Math.Max(1, schedule.Count * 3 / 4);
        if (scales >= schedule.Count)
        {
            throw new UserException($"{_scales.Name} is {scales}, but {path} has {schedule.Count} maps, {schedule}, of which at least one must come after those", ExitCode.Usage);
        }

        int down = files.VqVaeConfig.DownSampling;
        IImageDataset data = OpenData(
            options, schedule.Last.Height * down, schedule.Last.Width * down, $"the last token map of {path}, {schedule.Last}, and {down} pixels per token", cancellation);
        if (data.Classes.Count != files.VarConfig.Classes || !(files.ClassNames ?? data.Classes).SequenceEqual(data.Classes))
        {
            throw new UserException(
                $"--data has the classes {string.Join(", ", data.Classes)}, but {path} draws {(files.ClassNames is { } names ? string.Join(", ", names) : $"{files.VarConfig.Classes} classes")}");
        }

        TrainingOptions common = CommonOptions(options);
        CheckpointView? from = OpenFrom(options, file => [file.Root]);
        using Checkpoint? start = from?.Checkpoint;
        ImageGenerator generator = ImageGenerator.Load(files, new GeneratorOptions { Kernels = kernels, WithEncoder = true, MaxBatch = common.Batch });
        var trainer = new CriticTrainer(
            new CriticNetwork(files.VarConfig.Classes, files.VarConfig.CodeChannels, common.Seed, from), generator, data, common, kernels, scales, files.Sampling,
            options.GetValue(_drawEvery));
        return new Stage(trainer, data, new JsonObject { ["scales"] = scales, ["candidates"] = options.GetValue(_candidates) }, generator);
    }

    protected override RgbImage? DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation) => null;
}
