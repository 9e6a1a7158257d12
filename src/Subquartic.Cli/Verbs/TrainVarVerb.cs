using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Files;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Layers;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train var</c>: the second stage, the transformer.</summary>
internal sealed class TrainVarVerb : TrainVerb
{
    private const int SampleClasses = 16; // a sheet of more is too wide to look at
    private const int WidthPerBlock = 64; // width of the released models for each of their blocks
    private const int HiddenRatio = 4;
    private const string AdamWName = "adamw", MuonName = "muon";

    private readonly Option<FileInfo> _vae = new("--vae")
    {
        Description = "The trained VQ-VAE; its encoder is needed.",
        HelpName = "file",
        Required = true,
    };

    private readonly Option<string> _scales = ScaleOption.Create(
        $"Sides of the token maps. [default: those stated beside the VQ-VAE, otherwise {ScaleSchedule.Var256}]");
    private readonly Option<int> _depth = Whole("--depth", "Blocks. With --from more than the model has: copies of its blocks that change nothing at first.", 16, 1, 1024);
    private readonly Option<int> _width = Whole("--width", $"Width of a token. [default: {WidthPerBlock} times --depth]", null, 1, 1 << 16);
    private readonly Option<int> _heads = Whole("--heads", "Attention heads; must divide the width. [default: as many as blocks]", null, 1, 1 << 16);
    private readonly Option<int> _headWidth = Whole("--head-width", "Width of a head, instead of --heads.", null, 1, 1 << 16);
    private readonly Option<bool> _noL2Norm = new("--no-l2-norm") { Description = "Attention without normalised queries and keys." };
    private readonly Option<double> _maxScale = Number(
        "--max-attention-scale", "Largest factor that normalised attention may learn: a bound on all its scores.", VarNetwork.ReferenceMaxScale,
        value => value is > 0 and <= VarNetwork.ReferenceMaxScale, $"above 0, at most {VarNetwork.ReferenceMaxScale}");
    private readonly Option<bool> _sharedAdaLn = new("--shared-adaln") { Description = "One projection of the class for all blocks: fewer weights." };
    private readonly Option<bool> _rope = new("--rope")
    {
        Description = "Rotary position embedding: queries and keys are turned by row and column of their token. Needs a head width that is a multiple of 4.",
    };

    private readonly Option<double> _classDropout = Share("--class-dropout", "Share of the pictures shown without their class, for guidance.", 0.1);
    private readonly Option<string> _optimizer = new Option<string>("--optimizer")
    {
        Description = "How the matrices of the blocks are changed: by AdamW as everything else, or by Muon, along their orthogonalised momentum.",
        DefaultValueFactory = _ => AdamWName,
    }.OneOf(AdamWName, MuonName);

    private readonly Option<double> _labelSmoothing = Share("--label-smoothing", "Label smoothing of the loss.", 0);
    private readonly Option<double> _selfCorrection = Share(
        "--self-correction", "Largest share of a picture's tokens in whose place the model sees its own draws, so that later scales learn to correct them.", 0);

    private readonly Option<int> _passes = Whole(
        "--passes", $"Passes in which the tokens of a map will be drawn, each seeing those of the passes before. [default: as the model in --from recommends, or {SamplingDefaults.Reference.Passes}]",
        null, 1, SamplingOptions.MaxPasses);

    private readonly Option<double> _scaleBalance = Share(
        "--scale-balance", "b: a token of a map of n tokens weighs n^-b in the loss; 0 for the same weight for all tokens, 1 for all maps.", 0);

    private readonly Option<int> _samples = Whole(
        "--samples", $"Pictures of each class in samples.png (of at most {SampleClasses} classes).", 4, 1, 64);

    public TrainVarVerb()
        : base(
            "var", "Trains the second stage, which predicts the tokens of a class, on the tokens of a trained VQ-VAE.",
            "train var --vae tokenizer/vae.safetensors --out model --depth 8 --width 256 --heads 8",
            "train var --data photos --size 256 --vae vae_ch160v4096z32.pth --from var_d16.pth --out model --learning-rate 1e-5",
            "train var --vae tokenizer/vae.safetensors --out bounded --depth 8 --width 256 --head-width 8 --max-attention-scale 2")
    {
        Add(_vae);
        AddSetting(_scales);
        AddSetting(_depth);
        AddSetting(_width);
        AddSetting(_heads);
        AddSetting(_headWidth);
        AddSetting(_noL2Norm);
        AddSetting(_maxScale);
        AddSetting(_sharedAdaLn);
        AddSetting(_rope);
        AddSetting(_classDropout);
        AddSetting(_labelSmoothing);
        AddFirstScales();
        AddSetting(_selfCorrection);
        AddSetting(_passes);
        AddSetting(_scaleBalance);
        AddSetting(_optimizer);
        Add(_samples);
        AddCommonSettings();
        Validators.Add(Validate);
    }

    protected override string ModelFile => RandomModel.VarFile;

    protected override (string Name, string Label, Func<double, string> Write) Measure { get; } =
        ("accuracy", "share of tokens predicted right", value => $"{Units.Percent(value)} right");

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        string vaePath = options.GetRequiredValue(_vae).ToString();
        CheckpointView vae = Open("--vae", vaePath, ModelFiles.FindVqVae);
        using Checkpoint vaeFile = vae.Checkpoint;
        if (ModelFiles.FindVar(vaeFile).Count > 0)
        {
            throw new UserException($"--vae {vaePath}: the file holds a transformer too; give a file of the VQ-VAE alone");
        }

        ConfigFile? besideVae = ConfigFile.FindBeside(vaePath);
        var vaeConfig = VqVaeConfig.Infer(vae, besideVae);
        CheckpointView? from = OpenFrom(options, ModelFiles.FindVar);
        using Checkpoint? file = from?.Checkpoint;
        VarConfig? stored = from is { } view ? VarConfig.Infer(view, ConfigFile.FindBeside(file!.Path)) : null;
        ScaleSchedule? trained = stored?.Scales ?? besideVae?.VqVaeScales;
        ScaleSchedule scales = options.GetValue(_scales) is { } text ? ScaleOption.Parse(text)! : trained ?? ScaleSchedule.Var256;
        foreach ((ScaleSchedule? others, string path) in new[] { (besideVae?.VqVaeScales, vaePath), (stored?.Scales, file?.Path ?? "") })
        {
            if (others is not null && !others.Sizes.SequenceEqual(scales.Sizes))
            {
                throw new UserException($"--scales are {scales}, but {path} was trained with {others}", ExitCode.Usage);
            }
        }

        TokenMapSize last = scales.Last;
        VarConfig config = stored is null ? Config(options, scales, vaeConfig) : Confirmed(options, stored, vaeConfig, file!.Path, vaePath);
        IImageDataset data = OpenData(
            options, last.Height * vaeConfig.DownSampling, last.Width * vaeConfig.DownSampling,
            $"the last token map, {last}, and {vaeConfig.DownSampling} pixels per token of {vaePath}", cancellation);
        if (data.Classes.Count < 2)
        {
            throw new UserException($"--data has one class only, '{data.Classes[0]}'; a model that draws by class needs at least 2 class folders");
        }

        if (stored is not null && stored.Classes < data.Classes.Count)
        {
            throw new UserException($"--data has {data.Classes.Count} classes, but {file!.Path} has {stored.Classes}");
        }

        (int firstScales, int fullEvery) = FirstScales(options, scales);
        config = stored is null ? config with { Classes = data.Classes.Count } : config;
        TrainingOptions common = CommonOptions(options) with { Muon = options.GetValue(_optimizer) == MuonName ? new MuonOptions() : null };
        int given = options.GetValue(_passes);
        SamplingDefaults drawn = (file is null ? null : ConfigFile.FindBeside(file.Path)?.Sampling) ?? SamplingDefaults.Reference;
        int passes = given > 0 ? given : (int)drawn.Passes.Values.Max();
        var network = new VarNetwork(config, common.Seed, from, options.GetValue(_maxScale));
        VqVae autoencoder = VqVae.Load(vae, vaeConfig, scales, kernels, withEncoder: true);
        var trainer = new VarTrainer(
            network, autoencoder, data, common, kernels, options.GetValue(_classDropout), options.GetValue(_labelSmoothing),
            firstScales, fullEvery, options.GetValue(_selfCorrection), passes, options.GetValue(_scaleBalance));
        var description = new JsonObject
        {
            ["patch_nums"] = ScaleOption.ToJson(scales),
            ["num_heads"] = config.Heads,
            ["class_names"] = new JsonArray([.. data.Classes.Select(name => (JsonNode)name)]),
        };
        if (config.RopeBase is { } ropeBase)
        {
            description["rope_base"] = ropeBase;
        }

        if (passes > 1)
        {
            description["recommended_sampling"] = new JsonObject { ["passes"] = passes };
        }

        return new Stage(trainer, data, description, autoencoder);
    }

    /// <summary>A copy of the VQ-VAE, so that the folder is a whole model.</summary>
    protected override IEnumerable<string> MoreFiles(ParseResult options, string folder, Stage stage)
    {
        string source = options.GetRequiredValue(_vae).FullName, target = Path.Combine(folder, RandomModel.VqVaeFile);
        string description = Path.ChangeExtension(target, ".json");
        if (source != Path.GetFullPath(target))
        {
            using Checkpoint file = Checkpoint.Open(source);
            CheckpointConverter.Convert(file, target);
            var autoencoder = (VqVae)stage.Owned[0]!;
            JsonObject json = TrainAutoencoderVerb.Describe(autoencoder.Config, autoencoder.Quantizer.Scales);
            AtomicFile.WriteText(description, json.ToJsonString() + "\n");
        }

        return [target, description];
    }

    /// <summary>A column of pictures for each class, drawn from the saved files as <c>generate</c> draws.</summary>
    protected override RgbImage DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation)
    {
        using ModelFiles files = ModelFiles.Open(folder);
        using var generator = ImageGenerator.Load(files, new GeneratorOptions { Kernels = kernels });
        int classes = Math.Min(stage.Data.Classes.Count, SampleClasses);
        int[] labels = [.. Enumerable.Range(0, options.GetValue(_samples)).SelectMany(_ => Enumerable.Range(0, classes))];
        GenerationResult result = generator.Generate(files.Sampling.Request(labels), cancellation: cancellation);
        return ContactSheet.Grid([.. result.Images.Select(image => image.Image)], classes);
    }

    private void Validate(CommandResult result)
    {
        if (result.GetResult(_heads) is not null && result.GetResult(_headWidth) is not null)
        {
            result.AddError("give --heads or --head-width, not both");
        }
        else if (result.GetResult(_noL2Norm) is { Implicit: false } && result.GetResult(_maxScale) is { Implicit: false })
        {
            result.AddError("--max-attention-scale bounds normalised attention; it does not go with --no-l2-norm");
        }
    }

    private VarConfig Config(ParseResult options, ScaleSchedule scales, VqVaeConfig vae)
    {
        int depth = options.GetValue(_depth);
        int width = Given(options, _width) ? options.GetValue(_width) : WidthPerBlock * depth;
        bool byWidth = Given(options, _headWidth);
        int divisor = byWidth ? options.GetValue(_headWidth) : Given(options, _heads) ? options.GetValue(_heads) : depth;
        if (width % divisor != 0)
        {
            throw new UserException(
                $"--width is {width}, must be a multiple of {(byWidth ? _headWidth : _heads).Name}, {divisor}", ExitCode.Usage);
        }

        bool rope = options.GetValue(_rope);
        if (rope && (byWidth ? divisor : width / divisor) % 4 != 0)
        {
            throw new UserException($"--rope: heads have width {(byWidth ? divisor : width / divisor)}, must be a multiple of 4", ExitCode.Usage);
        }

        return new VarConfig
        {
            Depth = depth,
            Width = width,
            Heads = byWidth ? width / divisor : divisor,
            HiddenWidth = HiddenRatio * width,
            Classes = 1, // until the data are known
            Vocabulary = vae.Vocabulary,
            CodeChannels = vae.CodeChannels,
            AttentionL2Norm = !options.GetValue(_noL2Norm),
            SharedAdaLn = options.GetValue(_sharedAdaLn),
            Scales = scales,
            RopeBase = rope ? RotaryEmbedding.DefaultBase : null,
        };
    }

    private VarConfig Confirmed(ParseResult options, VarConfig stored, VqVaeConfig vae, string file, string vaePath)
    {
        int depth = Given(options, _depth) ? options.GetValue(_depth) : stored.Depth;
        if (depth < stored.Depth)
        {
            throw new UserException($"--depth is {depth}, but {file} has {stored.Depth}; blocks can only be added", ExitCode.Usage);
        }

        Confirm(options, _width, options.GetValue(_width), stored.Width, file);
        Confirm(options, _heads, options.GetValue(_heads), stored.Heads, file);
        Confirm(options, _headWidth, options.GetValue(_headWidth), stored.HeadWidth, file);
        Confirm(options, _noL2Norm, options.GetValue(_noL2Norm), !stored.AttentionL2Norm, file);
        Confirm(options, _rope, options.GetValue(_rope), stored.RopeBase is not null, file);
        Confirm(options, _sharedAdaLn, options.GetValue(_sharedAdaLn), stored.SharedAdaLn, file);
        return (stored.Vocabulary, stored.CodeChannels) == (vae.Vocabulary, vae.CodeChannels)
            ? stored with { Depth = depth }
            : throw new UserException(
                $"{file} knows {stored.Vocabulary} codes of {stored.CodeChannels} channels, "
                + $"the VQ-VAE in {vaePath} has {vae.Vocabulary} of {vae.CodeChannels}");
    }
}
