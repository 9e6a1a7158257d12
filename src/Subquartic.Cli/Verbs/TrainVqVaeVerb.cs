using System.CommandLine;
using System.Globalization;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train vqvae</c>: the first stage, the multi-scale VQ-VAE.</summary>
internal sealed class TrainVqVaeVerb : TrainAutoencoderVerb
{
    private const int Groups = 32; // of every group normalisation

    private static readonly VqVaeConfig Released = VqVaeConfig.Released;

    private readonly Option<string> _scales = ScaleOption.Create($"Sides of the token maps, coarse to fine. [default: {ScaleSchedule.Var256}]");
    private readonly Option<int> _vocabulary = Whole("--vocabulary", "Code vectors.", Released.Vocabulary, 2, 1 << 20);
    private readonly Option<int> _codeChannels = Whole("--code-channels", "Channels of a code vector.", Released.CodeChannels, 1, 4096);

    private readonly Option<int> _channels = new Option<int>("--channels")
    {
        Description = "Channels at full resolution.",
        HelpName = "number",
        DefaultValueFactory = _ => Released.BaseChannels,
    }.Require(value => value is >= Groups and <= 8192 && value % Groups == 0, $"a multiple of {Groups}, {Groups} to 8192");

    private readonly Option<string> _multipliers = new Option<string>("--channel-multipliers")
    {
        Description = "Channels of each resolution, full resolution first, as multiples of --channels; each further one halves the sides.",
        HelpName = "numbers",
        DefaultValueFactory = _ => string.Join(',', Released.ChannelMultipliers),
    }.Require(text => ParseMultipliers(text) is not null, "1 to 16 whole numbers, 1 to 64, separated by commas");

    private readonly Option<int> _residualBlocks = Whole("--residual-blocks", "Residual blocks of each resolution.", Released.ResidualBlocks, 1, 64);
    private readonly Option<int> _phi = Whole(
        "--phi", "Convolutions after the quantiser, shared by the scales; 0 for one for each scale.", Released.SharedPhi, 0, 1024);
    private readonly Option<double> _beta = Number("--beta", "Weight of the commitment loss.", 0.25, value => value >= 0, "0 or more");
    private readonly Option<bool> _zNorm = new("--z-norm") { Description = "Match codes by angle instead of distance." };

    public TrainVqVaeVerb()
        : base(
            "vqvae", "Trains the first stage, which turns pictures into tokens and back.",
            "train vqvae --out tokenizer --scales 1,2,3,4,6,8,12,16 --channels 64 --channel-multipliers 1,1,2 --vocabulary 1024",
            "train vqvae --data photos --size 256 --out tokenizer --from vae_ch160v4096z32.pth --learning-rate 1e-5",
            "train vqvae --data photos --size 256 --out tokenizer --resume")
    {
        AddSetting(_scales);
        AddSetting(_vocabulary);
        AddSetting(_codeChannels);
        AddSetting(_channels);
        AddSetting(_multipliers);
        AddSetting(_residualBlocks);
        AddSetting(_phi);
        AddSetting(_beta);
        AddSetting(_zNorm);
        AddPerceptual();
        AddCommonSettings();
    }

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        CheckpointView? from = OpenFrom(options, ModelFiles.FindVqVae);
        using Checkpoint? file = from?.Checkpoint;
        ConfigFile? beside = file is null ? null : ConfigFile.FindBeside(file.Path);
        VqVaeConfig config = from is { } view ? Infer(options, view, beside) : Config(options);
        ScaleSchedule scales = (Given(options, _scales) ? null : beside?.VqVaeScales)
            ?? (options.GetValue(_scales) is { } text ? ScaleOption.Parse(text)! : ScaleSchedule.Var256);
        if (from is { } start && config.SharedPhi == 0 && start.Contains($"quantize.quant_resi.{scales.Count}.weight"))
        {
            throw new UserException($"--scales has {scales.Count} maps, but {file!.Path} has convolutions for more", ExitCode.Usage);
        }

        TokenMapSize last = scales.Last;
        IImageDataset data = OpenData(
            options, last.Height * config.DownSampling, last.Width * config.DownSampling,
            $"the last of --scales, {last}, and {config.DownSampling} pixels per token from --channel-multipliers", cancellation);
        TrainingOptions common = CommonOptions(options);
        (PerceptualLoss? perceptual, ClassifierNetwork[] owned) = OpenPerceptual(options, data);
        var trainer = new VqVaeTrainer(
            new VqVaeNetwork(config, scales, common.Seed, from), data, common, kernels, options.GetValue(_beta), perceptual);
        return new Stage(trainer, data, Describe(config, scales), owned);
    }

    private VqVaeConfig Config(ParseResult options) => new()
    {
        Vocabulary = options.GetValue(_vocabulary),
        CodeChannels = options.GetValue(_codeChannels),
        BaseChannels = options.GetValue(_channels),
        ChannelMultipliers = ParseMultipliers(options.GetRequiredValue(_multipliers))!,
        ResidualBlocks = options.GetValue(_residualBlocks),
        SharedPhi = options.GetValue(_phi),
        UseZNorm = options.GetValue(_zNorm),
    };

    private VqVaeConfig Infer(ParseResult options, CheckpointView from, ConfigFile? beside)
    {
        string file = from.Checkpoint.Path;
        var config = VqVaeConfig.Infer(from, beside);
        Confirm(options, _vocabulary, options.GetValue(_vocabulary), config.Vocabulary, file);
        Confirm(options, _codeChannels, options.GetValue(_codeChannels), config.CodeChannels, file);
        Confirm(options, _channels, options.GetValue(_channels), config.BaseChannels, file);
        int[] multipliers = ParseMultipliers(options.GetRequiredValue(_multipliers))!;
        Confirm(options, _multipliers, string.Join(',', multipliers), string.Join(',', config.ChannelMultipliers), file);
        Confirm(options, _residualBlocks, options.GetValue(_residualBlocks), config.ResidualBlocks, file);
        Confirm(options, _phi, options.GetValue(_phi), config.SharedPhi, file);
        return config with { UseZNorm = config.UseZNorm || options.GetValue(_zNorm) };
    }

    private static int[]? ParseMultipliers(string text)
    {
        string[] parts = text.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries);
        int[] values = [.. parts.Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : 0)];
        return values.Length is >= 1 and <= 16 && values.All(value => value is >= 1 and <= 64) ? values : null;
    }
}
