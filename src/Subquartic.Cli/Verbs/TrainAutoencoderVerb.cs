using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary>What the verbs share that train a VQ-VAE or a part of it.</summary>
internal abstract class TrainAutoencoderVerb : TrainVerb
{
    private const int SamplePictures = 16;
    private const int SampleColumns = 8;

    private readonly Option<double> _perceptual =
        Number("--perceptual", "Weight of the perceptual loss, for which --judge gives the features.", 0, value => value >= 0, "0 or more");

    private readonly Option<FileInfo[]> _judge = new("--judge")
    {
        Description = "Whose features the losses on features compare: a classifier that 'train classifier' wrote. Several may be given. [default: the one in the box, which knows the icons]",
        HelpName = "file",
    };

    protected TrainAutoencoderVerb(string stage, string description, params string[] examples)
        : base(stage, description, examples)
    {
    }

    /// <summary>A stage with other defaults, which does not start from the weights of a checkpoint.</summary>
    protected TrainAutoencoderVerb(string stage, string description, TrainingOptions defaults, params string[] examples)
        : base(stage, description, defaults, examples)
    {
    }

    protected override string ModelFile => RandomModel.VqVaeFile;

    protected override (string Name, string Label, Func<double, string> Write) Measure { get; } =
        ("psnr", "PSNR of the reconstructions, dB", value => string.Create(CultureInfo.InvariantCulture, $"{value:0.0} dB"));

    /// <summary>What the tensors of a VQ-VAE do not show, as a JSON file beside it states it.</summary>
    public static JsonObject Describe(VqVaeConfig config, ScaleSchedule scales) => new()
    {
        ["patch_nums"] = ScaleOption.ToJson(scales),
        ["using_znorm"] = config.UseZNorm,
        ["quant_resi"] = config.QuantizerResidual,
    };

    /// <summary>Adds the options of the perceptual loss.</summary>
    protected void AddPerceptual()
    {
        AddSetting(_perceptual);
        Add(_judge);
    }

    /// <summary>The classifiers asked for; the caller disposes them.</summary>
    /// <exception cref="UserException">The pictures do not suit a classifier.</exception>
    protected ClassifierNetwork[] OpenJudges(ParseResult options, IImageDataset data)
    {
        if (data.Height % ClassifierNetwork.DownSampling + data.Width % ClassifierNetwork.DownSampling != 0)
        {
            throw new UserException(
                $"{_judge.Name}: the pictures have {data.Height} x {data.Width} pixels; the classifier needs sides that divide by {ClassifierNetwork.DownSampling}",
                ExitCode.Usage);
        }

        string[] paths = options.GetValue(_judge) is { Length: > 0 } given ? [.. given.Select(file => file.ToString())] : [EngineOptions.BoxedJudge];
        return [.. paths.Select(path =>
        {
            using Checkpoint file = Checkpoint.Open(path);
            return ClassifierNetwork.Load(file.Root);
        })];
    }

    /// <summary>The perceptual loss asked for, and the networks that it looks with, to be disposed; null for none.</summary>
    /// <exception cref="UserException">The pictures do not suit a classifier.</exception>
    protected (PerceptualLoss? Loss, ClassifierNetwork[] Owned) OpenPerceptual(ParseResult options, IImageDataset data)
    {
        double weight = options.GetValue(_perceptual);
        ClassifierNetwork[] networks = weight == 0 ? [] : OpenJudges(options, data);
        return (networks is [] ? null : new PerceptualLoss(networks, weight), networks);
    }

    /// <summary>Pictures above what the model makes of them: of the built-in data set some that training does not show.</summary>
    protected override RgbImage DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation)
    {
        string path = Path.Combine(folder, ModelFile);
        using Checkpoint file = Checkpoint.Open(path);
        var beside = ConfigFile.FindBeside(path);
        var config = VqVaeConfig.Infer(file.Root, beside);
        ScaleSchedule scales = beside!.VqVaeScales!;
        using VqVae model = VqVae.Load(file.Root, config, scales, kernels, withEncoder: true);
        IImageDataset data = stage.Data is IconDataset icons ? new IconDataset(IconSplit.HeldOut, 1, icons.Size) : stage.Data;
        int count = (int)Math.Min(SamplePictures, data.Count);
        var attention = new ExactAttention(kernels);
        using var pixels = new FloatBuffer((long)data.Height * data.Width * 3);
        using var features = new FloatBuffer(2L * scales.Last.Tokens * config.CodeChannels);
        FeatureMap map = pixels.FeatureMap(1, data.Height, data.Width, 3);
        FeatureMap f = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, config.CodeChannels);
        FeatureMap fHat = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, config.CodeChannels, f.Length);
        int[] tokens = new int[scales.Tokens];
        var originals = new RgbImage[count];
        var results = new RgbImage[count];
        for (int i = 0; i < count; i++)
        {
            originals[i] = new RgbImage(data.Height, data.Width);
            data.Read(i * data.Count / count, originals[i].Bytes);
            originals[i].CopyTo(map);
            model.Encode(map, f, attention, cancellation);
            model.Quantizer.Quantize(f, tokens, fHat);
            model.Decode(fHat, map, attention, cancellation);
            results[i] = RgbImage.From(map);
        }

        int columns = Math.Min(count, SampleColumns);
        return ContactSheet.Grid(
            [
                .. originals.Chunk(columns).Zip(results.Chunk(columns))
                    .Where(row => row.First.Length == columns) // a row that is not full would not stand above its results
                    .SelectMany(row => row.First.Concat(row.Second)),
            ],
            columns);
    }
}
