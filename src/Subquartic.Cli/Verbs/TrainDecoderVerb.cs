using System.CommandLine;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>train decoder</c>: the decoder of a VQ-VAE again, for what a transformer draws.</summary>
internal sealed class TrainDecoderVerb : TrainAutoencoderVerb
{
    private static readonly TrainingOptions Defaults = new() { Batch = 8, Steps = 2000, LearningRate = 3e-4, WarmUp = 50 };

    private readonly Option<DirectoryInfo> _model = new("--model", "-m")
    {
        Description = "Folder of the model. Its transformer draws; its decoder is trained, everything else of its VQ-VAE stays as it is.",
        HelpName = "folder",
        Required = true,
    };

    private readonly Option<int> _drawnScales = Whole("--drawn-scales", "Last token maps that are drawn; those before are the picture's own.", 2, 1, 1024);

    private readonly Option<double> _trueShare = Share(
        "--true-share", "Share of the pictures whose maps are all their own, so that reconstructions stay good.", 0.5);

    private readonly Option<double> _match = Number(
        "--match", "Weight of feature matching: as many more pictures are drawn from the first map on, and the mean features of each class, as --judge sees them, brought to those of real pictures.",
        0, value => value >= 0, "0 or more");

    private readonly Option<int> _drawEvery = Whole(
        "--draw-every", $"With --match: once {FeatureMatching.FewestPictures} pictures of each class are drawn, of so many steps one draws new ones; the others show some that were drawn before.", 8, 1);

    public TrainDecoderVerb()
        : base(
            "decoder", "Trains the decoder of a trained model again, to make the picture of maps whose last tokens the model drew.", Defaults,
            "train decoder --model model --out decoder",
            "train decoder --model models/icons --drawn-scales 1 --perceptual 0.1 --judge own/classifier.safetensors --out decoder --dtype f16",
            "train decoder --model model --true-share 1 --batch 16 --perceptual 1.8 --match 0.3 --out decoder")
    {
        Add(_model);
        AddSetting(_drawnScales);
        AddSetting(_trueShare);
        AddPerceptual();
        AddSetting(_match);
        AddSetting(_drawEvery);
        AddCommonSettings();
    }

    protected override Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation)
    {
        string path = options.GetRequiredValue(_model).ToString();
        using ModelFiles files = ModelFiles.Open(path);
        ScaleSchedule scales = files.VarConfig.Scales;
        int drawn = options.GetValue(_drawnScales);
        if (drawn > scales.Count)
        {
            throw new UserException($"{_drawnScales.Name} is {drawn}, but {path} has {scales.Count} maps: {scales}", ExitCode.Usage);
        }

        int down = files.VqVaeConfig.DownSampling;
        IImageDataset data = OpenData(
            options, scales.Last.Height * down, scales.Last.Width * down, $"the last token map of {path}, {scales.Last}, and {down} pixels per token", cancellation);
        if (!(files.ClassNames ?? data.Classes).Take(data.Classes.Count).SequenceEqual(data.Classes))
        {
            throw new UserException($"--data has the classes {string.Join(", ", data.Classes)}, but {path} was trained on {string.Join(", ", files.ClassNames!)}");
        }

        if (data.Classes.Count > files.VarConfig.Classes)
        {
            throw new UserException($"--data has {data.Classes.Count} classes, but {path} has {files.VarConfig.Classes}");
        }

        TrainingOptions common = CommonOptions(options);
        (PerceptualLoss? perceptual, ClassifierNetwork[] networks) = OpenPerceptual(options, data);
        double match = options.GetValue(_match);
        if (match > 0 && networks is [])
        {
            networks = OpenJudges(options, data);
        }

        ImageGenerator generator = ImageGenerator.Load(files, new GeneratorOptions { Kernels = kernels, WithEncoder = true, MaxBatch = common.Batch });
        var trainer = new DecoderTrainer(
            new VqVaeNetwork(files.VqVaeConfig, scales, common.Seed, files.VqVae), generator, data, common, kernels, drawn,
            files.Sampling, options.GetValue(_trueShare), perceptual,
            match > 0 ? new FeatureMatching(networks, match, data.Classes.Count) : null, options.GetValue(_drawEvery));
        return new Stage(trainer, data, Describe(files.VqVaeConfig, scales), [generator, .. networks]);
    }
}
