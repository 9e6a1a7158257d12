using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Subquartic.Adapters;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train lora</c>: a low-rank adapter on a trained transformer.</summary>
internal sealed class TrainLoraVerb : TrainVerb
{
    private const int SampleClasses = 16; // a sheet of more is too wide to look at
    private const string Exact = "exact", LowRank = "low-rank", Surrogate = "surrogate";

    private readonly Option<string> _model = new("--model", "-m")
    {
        Description = "The trained model, which stays as it is: a folder with a VAR and a VQ-VAE checkpoint, or one file of it.",
        HelpName = "path",
        Required = true,
    };

    private readonly Option<int> _rank = Whole("--rank", "Rank of each change.", 8, 1, 1 << 16);
    private readonly Option<double> _alpha = Number("--alpha", "The change counts alpha / rank.", 16, value => value > 0, "above 0");

    private readonly Option<string> _targets = new("--targets")
    {
        Description = $"Layers to change, with commas: {string.Join(", ", LoraOptions.AllTargets)}.",
        HelpName = "list",
        DefaultValueFactory = _ => "q,v",
    };

    private readonly Option<int> _replay = Whole(
        "--replay", "Pictures of each class of the model that it draws before the training and is shown again during it, so that it keeps them.", 0, 0, 10_000);

    private readonly Option<string> _attention = new Option<string>("--attention")
    {
        Description = "How attention and its gradient are computed: 'low-rank' by polynomials where they are cheaper and within --tolerance, "
            + "with the gradient of attention; 'surrogate' likewise, with the gradient of the polynomials.",
        DefaultValueFactory = _ => Exact,
    }.OneOf(Exact, LowRank, Surrogate);

    private readonly Option<double> _tolerance =
        Number("--tolerance", "With --attention low-rank or surrogate: largest error of output and gradient, as a fraction of their natural size.", 1e-3, value => value is > 0 and < 1, "above 0 and below 1");

    private readonly Option<double> _classDropout = Share("--class-dropout", "Share of the pictures shown without their class, for guidance.", 0.1);
    private readonly Option<int> _samples = Whole("--samples", $"Pictures of each class in samples.png (of at most {SampleClasses} classes).", 4, 1, 64);

    public TrainLoraVerb()
        : base(
            "lora", "Trains a low-rank adapter (LoRA) on a model whose own weights stay as they are: for a new class or a new style.",
            new TrainingOptions { Steps = 400, LearningRate = 2e-3, WarmUp = 20, AverageDecay = 0, Optimizer = new AdamWOptions { WeightDecay = 0 } },
            "train lora --model models/icons --data rocket --out rocket-adapter --rank 8 --alpha 16 --targets q,v,adaln --replay 12",
            "train lora --model var-d16 --data photos --size 256 --out style --targets q,k,v,proj --learning-rate 1e-4")
    {
        Add(_model);
        AddSetting(_rank);
        AddSetting(_alpha);
        AddSetting(_targets);
        AddSetting(_replay);
        AddSetting(_attention);
        AddSetting(_tolerance);
        AddSetting(_classDropout);
        AddFirstScales();
        Add(_samples);
        AddCommonSettings();
    }

    private LowRankTraining? _lowRank;

    protected override string ModelFile => LoraAdapter.FileName;

    protected override (string Name, string Label, Func<double, string> Write) Measure { get; } =
        ("accuracy", "share of tokens predicted right", value => $"{Units.Percent(value)} right");

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        string model = options.GetRequiredValue(_model);
        using ModelFiles files = ModelFiles.Open(model);
        VarConfig config = files.VarConfig;
        TokenMapSize last = config.Scales.Last;
        int pixels = files.VqVaeConfig.DownSampling;
        IImageDataset pictures = OpenData(options, last.Height * pixels, last.Width * pixels, $"the {last} tokens of {pixels} pixels of {model}", cancellation);
        var data = new AdapterDataset(pictures, config.Classes, files.ClassNames, Replay(options, files, kernels, cancellation));
        var lora = new LoraOptions
        {
            Rank = options.GetValue(_rank),
            Alpha = options.GetValue(_alpha),
            Targets = options.GetRequiredValue(_targets).Split(',', StringSplitOptions.TrimEntries),
            NewClasses = data.NewClasses,
        };
        TrainingOptions common = CommonOptions(options);
        VarNetwork network;
        try
        {
            _lowRank = options.GetValue(_attention) is Exact or null ? null : new LowRankTraining(
                options.GetValue(_tolerance), options.GetValue(_attention) == LowRank ? GradientVariant.OfAttention : GradientVariant.OfSurrogate);
            network = new VarNetwork(config, common.Seed, files.Var, lora: lora) { LowRank = _lowRank };
        }
        catch (ArgumentException error)
        {
            throw new UserException($"--targets and --rank: {error.Message}", ExitCode.Usage);
        }

        VqVae autoencoder = VqVae.Load(files.VqVae, files.VqVaeConfig, config.Scales, kernels, withEncoder: true);
        (int firstScales, int fullEvery) = FirstScales(options, config.Scales);
        var trainer = new VarTrainer(
            network, autoencoder, data, common, kernels, options.GetValue(_classDropout), firstScales: firstScales, fullEvery: fullEvery,
            passes: (int)files.Sampling.Passes.Values.Max());
        var description = new JsonObject
        {
            ["model"] = model,
            ["targets"] = options.GetRequiredValue(_targets),
            ["new_classes"] = new JsonArray([.. data.NewClasses.Select(name => (JsonNode)name)]),
        };
        return new Stage(trainer, data, description, autoencoder);
    }

    protected override string? DescribeAttention() => _lowRank is not { } own ? null
        : string.Create(CultureInfo.InvariantCulture, $"Attention: {own.Heads - own.ExactHeads} of {own.Heads} heads by polynomials")
            + (own.Reason is { } reason ? $"; the others exactly: {reason}." : ".");

    /// <summary>What the PEFT library wants beside the adapter.</summary>
    protected override IEnumerable<string> MoreFiles(ParseResult options, string folder, Stage stage)
    {
        string path = Path.Combine(folder, "adapter_config.json");
        ((VarTrainer)stage.Trainer).Adapter!.WriteConfig(path, options.GetRequiredValue(_model));
        return [path];
    }

    /// <summary>A column of pictures for each class, those with pictures of their own first, drawn from the saved files as <c>generate</c> draws.</summary>
    protected override RgbImage DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation)
    {
        using ModelFiles files = ModelFiles.Open(options.GetRequiredValue(_model)).WithAdapters([new WeightedAdapter(LoraAdapter.Open(folder), 1)]);
        using var generator = ImageGenerator.Load(files, new GeneratorOptions { Kernels = kernels });
        int classes = files.VarConfig.Classes;
        int[] columns = [.. Enumerable.Range(0, classes).Select(i => classes - 1 - i).Take(SampleClasses)];
        int[] labels = [.. Enumerable.Range(0, options.GetValue(_samples)).SelectMany(_ => columns)];
        GenerationResult result = generator.Generate(files.Sampling.Request(labels), cancellation: cancellation);
        return ContactSheet.Grid([.. result.Images.Select(image => image.Image)], columns.Length);
    }

    private IReadOnlyList<(int Label, RgbImage Image)> Replay(ParseResult options, ModelFiles files, KernelSet kernels, CancellationToken cancellation)
    {
        if (options.GetValue(_replay) is not (int count and > 0))
        {
            return [];
        }

        using var generator = ImageGenerator.Load(files, new GeneratorOptions { Kernels = kernels });
        int[] labels = [.. Enumerable.Range(0, count).SelectMany(_ => Enumerable.Range(0, files.VarConfig.Classes))];
        GenerationResult drawn = generator.Generate(files.Sampling.Request(labels) with { Seed = 1 }, cancellation: cancellation);
        return [.. drawn.Images.Select((image, i) => (labels[i], image.Image))];
    }
}
