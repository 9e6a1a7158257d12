using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Threading;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary>What the verbs of <c>train</c> share: data, optimiser, folder, resuming and the report.</summary>
internal abstract class TrainVerb : Verb
{
    private const string Icons = "icons";
    private const int DefaultIconSize = 64;

    private static readonly TrainingOptions Defaults = new();

    private readonly List<(string Name, Func<ParseResult, string> Value)> _settings = [];

    private readonly Option<string> _data = new("--data")
    {
        Description = "Pictures: a folder with a folder of PNG files for each class, or 'icons', the built-in drawn data set.",
        HelpName = "icons|folder",
        DefaultValueFactory = _ => Icons,
    };

    private readonly Option<int> _size = new Option<int>("--size")
    {
        Description = "Side that the middle square of every picture is resized to. "
            + "[default: pictures of a folder as they are, icons as the model needs them]",
        HelpName = "pixels",
    }.Require(value => value is >= 1 and <= RgbImage.MaxSide, $"a whole number, 1 to {RgbImage.MaxSide}");

    private readonly Option<DirectoryInfo> _out = new("--out", "-o")
    {
        Description = "Folder for the model, the state to go on from, the log, curves and samples.",
        HelpName = "folder",
        Required = true,
    };

    private readonly Option<bool> _resume = new("--resume")
    {
        Description = "Go on with the training in the folder; give the same options as before.",
    };

    private readonly Option<FileInfo?> _from = new("--from")
    {
        Description = "Checkpoint whose weights to start from, ours or an official one; its sizes are taken over.",
        HelpName = "file",
    };

    private readonly Option<int> _batch = Whole("--batch", "Pictures of one step.", Defaults.Batch, 1);
    private readonly Option<int> _steps = Whole("--steps", "Steps of the whole training.", (int)Defaults.Steps, 1);
    private readonly Option<double> _rate = Number("--learning-rate", "Largest learning rate.", Defaults.LearningRate, value => value > 0, "above 0");
    private readonly Option<double> _finalRate =
        Share("--final-rate", "Learning rate at the end, as a fraction of the largest; it falls as a cosine.", Defaults.FinalRate);
    private readonly Option<int> _warmUp = Whole("--warm-up", "Steps in which the learning rate rises.", (int)Defaults.WarmUp, 0);
    private readonly Option<double> _beta1 = Decay("--beta1", "AdamW: decay of the mean of the gradients.", Defaults.Optimizer.Beta1);
    private readonly Option<double> _beta2 = Decay("--beta2", "AdamW: decay of the mean of their squares.", Defaults.Optimizer.Beta2);
    private readonly Option<double> _weightDecay =
        Number("--weight-decay", "AdamW: weight decay of matrices and kernels.", Defaults.Optimizer.WeightDecay, value => value >= 0, "0 or more");
    private readonly Option<double> _clip =
        Number("--clip", "Largest norm of all gradients together; 0 for no limit.", Defaults.Optimizer.ClipNorm, value => value >= 0, "0 or more");
    private readonly Option<double> _average =
        Decay("--average", "Decay of the running average of the weights, which is the model that is saved; 0 for none.", Defaults.AverageDecay);

    private readonly Option<ulong> _seed = new Option<ulong>("--seed", "-s")
    {
        Description = "Seed of weights, order of the pictures and dropout; the same seed gives the same bytes.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Seed,
    }.Require(_ => true, "a whole number, 0 or more");

    private readonly Option<int> _firstScales = Whole(
        "--first-scales", "Scales of most steps; later ones, which hold most tokens, are shown by every --full-every-th step only. [default: all]", null, 1, 1024);
    private readonly Option<int> _fullEvery = Whole("--full-every", "With --first-scales: of so many steps the last one shows all scales.", 4, 1);
    private readonly Option<int> _reportEvery = Whole("--report-every", "Steps between lines of the log.", 20, 1);
    private readonly Option<int> _saveEvery = Whole("--save-every", "Steps between savings of state and model.", 500, 1);
    private readonly Option<string?> _type = WeightType.CreateOption("Type of the saved model's weights; training is in f32. [default: f32]");
    private readonly EngineOptions _engine = new();

    protected TrainVerb(string stage, string description, params string[] examples)
        : this(stage, description, Defaults, examples) => AddFrom();

    /// <summary>A stage with other defaults, which starts from the weights of a checkpoint only where <see cref="AddFrom"/> is called.</summary>
    protected TrainVerb(string stage, string description, TrainingOptions defaults, params string[] examples)
        : base(stage, description, examples)
    {
        Add(_data);
        Add(_size);
        Add(_out);
        Add(_resume);
        _batch.DefaultValueFactory = _ => defaults.Batch;
        _steps.DefaultValueFactory = _ => (int)defaults.Steps;
        _rate.DefaultValueFactory = _ => defaults.LearningRate;
        _warmUp.DefaultValueFactory = _ => (int)defaults.WarmUp;
        _weightDecay.DefaultValueFactory = _ => defaults.Optimizer.WeightDecay;
        _average.DefaultValueFactory = _ => defaults.AverageDecay;
    }

    /// <summary>Name of the model's file.</summary>
    protected abstract string ModelFile { get; }

    /// <summary>The measure shown beside the loss.</summary>
    protected abstract (string Name, string Label, Func<double, string> Write) Measure { get; }

    /// <summary>A training ready to start.</summary>
    /// <param name="Trainer">Takes the steps.</param>
    /// <param name="Data">The pictures.</param>
    /// <param name="Description">What the model's tensors do not show.</param>
    /// <param name="Owned">Disposed after the trainer.</param>
    protected sealed record Stage(Trainer Trainer, IImageDataset Data, JsonObject Description, params IDisposable?[] Owned) : IDisposable
    {
        public void Dispose()
        {
            Trainer.Dispose();
            Array.ForEach(Owned, owned => owned?.Dispose());
        }
    }

    /// <summary>Checks the options together and sets the training up.</summary>
    /// <exception cref="UserException">They do not fit together, or not the data.</exception>
    protected abstract Stage Prepare(ParseResult options, KernelSet kernels, CancellationToken cancellation);

    /// <summary>Pictures that show what the saved model can do, or null where it draws none.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="folder">The training's folder.</param>
    /// <param name="stage">The training.</param>
    /// <param name="kernels">Kernels to draw with.</param>
    /// <param name="cancellation">Ctrl-C.</param>
    protected abstract RgbImage? DrawSamples(ParseResult options, string folder, Stage stage, KernelSet kernels, CancellationToken cancellation);

    /// <summary>One line about how attention was computed, or null.</summary>
    protected virtual string? DescribeAttention() => null;

    /// <summary>Writes what else belongs to the model.</summary>
    /// <returns>The files.</returns>
    protected virtual IEnumerable<string> MoreFiles(ParseResult options, string folder, Stage stage) => [];

    /// <summary>Lets the training start from the weights of a checkpoint.</summary>
    protected void AddFrom() => Add(_from);

    /// <summary>Adds an option that a training that goes on must repeat.</summary>
    protected void AddSetting<T>(Option<T> option)
    {
        Add(option);
        _settings.Add((option.Name, options => string.Create(CultureInfo.InvariantCulture, $"{options.GetValue(option)}")));
    }

    /// <summary>Adds the options for steps that show the first scales only.</summary>
    protected void AddFirstScales()
    {
        AddSetting(_firstScales);
        AddSetting(_fullEvery);
    }

    /// <summary>How many scales most steps show, 0 for all, and which steps show all.</summary>
    /// <exception cref="UserException">There are fewer scales.</exception>
    protected (int FirstScales, int FullEvery) FirstScales(ParseResult options, ScaleSchedule scales)
    {
        int first = options.GetValue(_firstScales);
        return first <= scales.Count
            ? (first, options.GetValue(_fullEvery))
            : throw new UserException($"--first-scales is {first}, but there are {scales.Count} scales: {scales}", ExitCode.Usage);
    }

    /// <summary>Adds the options of the optimiser, the folder and the machine; call it last.</summary>
    protected void AddCommonSettings()
    {
        AddSetting(_batch);
        AddSetting(_steps);
        AddSetting(_rate);
        AddSetting(_finalRate);
        AddSetting(_warmUp);
        AddSetting(_beta1);
        AddSetting(_beta2);
        AddSetting(_weightDecay);
        AddSetting(_clip);
        AddSetting(_average);
        AddSetting(_seed);
        Add(_type);
        Add(_reportEvery);
        Add(_saveEvery);
        _engine.AddTo(this, withModel: false, withAttention: false);
        AddJson();
    }

    protected static Option<int> Whole(string name, string description, int? value, int minimum, int maximum = int.MaxValue)
    {
        var option = new Option<int>(name) { Description = description, HelpName = "number" };
        if (value is { } number)
        {
            option.DefaultValueFactory = _ => number;
        }

        return option.Require(
            parsed => parsed >= minimum && parsed <= maximum,
            maximum == int.MaxValue ? $"a whole number, {minimum} or more" : $"a whole number, {minimum} to {maximum}");
    }

    protected static Option<double> Number(string name, string description, double value, Func<double, bool> rule, string words) =>
        new Option<double>(name) { Description = description, HelpName = "number", DefaultValueFactory = _ => value }
            .Require(parsed => double.IsFinite(parsed) && rule(parsed), $"a number, {words}");

    protected static Option<double> Share(string name, string description, double value) =>
        Number(name, description, value, parsed => parsed is >= 0 and <= 1, "0 to 1");

    /// <summary>Whether an option was given.</summary>
    protected static bool Given(ParseResult options, Option option) => options.GetResult(option) is { Implicit: false };

    /// <summary>Refuses an option that was given with another value than a checkpoint has.</summary>
    /// <exception cref="UserException">They differ.</exception>
    protected static void Confirm<T>(ParseResult options, Option option, T given, T stored, string file)
    {
        if (Given(options, option) && !Equals(given, stored))
        {
            throw new UserException($"{option.Name} is {given}, but {file} has {stored}", ExitCode.Usage);
        }
    }

    /// <summary>Opens the checkpoint to start from.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="find">Finds the state dict in it.</param>
    /// <returns>Null where none was asked for; the caller disposes the file.</returns>
    protected CheckpointView? OpenFrom(ParseResult options, Func<Checkpoint, IReadOnlyList<CheckpointView>> find) =>
        options.GetValue(_from) is { } file ? Open("--from", file.ToString(), find) : null;

    /// <summary>Opens a checkpoint that holds one model of a kind.</summary>
    protected static CheckpointView Open(string option, string path, Func<Checkpoint, IReadOnlyList<CheckpointView>> find)
    {
        Checkpoint checkpoint = Checkpoint.Open(path);
        IReadOnlyList<CheckpointView> views = find(checkpoint);
        if (views.Count == 1)
        {
            return views[0];
        }

        checkpoint.Dispose();
        throw new UserException($"{option} {path}: the file holds {views.Count} models of the kind asked for, expected 1");
    }

    /// <summary>Opens the pictures and makes sure that they have the size a model needs.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="height">Rows the model needs.</param>
    /// <param name="width">Columns the model needs.</param>
    /// <param name="reason">Where this size comes from.</param>
    /// <param name="cancellation">Ctrl-C.</param>
    protected IImageDataset OpenData(ParseResult options, int height, int width, string reason, CancellationToken cancellation)
    {
        string data = options.GetRequiredValue(_data);
        int size = options.GetValue(_size);
        if (size > 0 && (size != height || size != width))
        {
            throw new UserException($"--size is {size}, but {reason} need pictures of {height} x {width} pixels", ExitCode.Usage);
        }

        if (data == Icons)
        {
            return height == width && height is >= IconDataset.MinSize and <= IconDataset.MaxSize
                ? new IconDataset(IconSplit.Training, size: height)
                : throw new UserException(
                    $"--data {Icons}: {reason} need pictures of {height} x {width} pixels; "
                    + $"icons are square, {IconDataset.MinSize} to {IconDataset.MaxSize} pixels",
                    ExitCode.Usage);
        }

        if (!Directory.Exists(data))
        {
            throw new UserException($"--data {data}: there is no such folder");
        }

        FolderDataset folder = FolderDataset.Open(data, size, cancellation);
        return (folder.Height, folder.Width) == (height, width)
            ? folder
            : throw new UserException(
                $"--data {data}: the pictures have {folder.Height} x {folder.Width} pixels, but {reason} need {height} x {width}"
                + (height == width ? $"; --size {height} fits them" : ""));
    }

    /// <summary>Opens pictures of any size with sides that divide by a number.</summary>
    protected IImageDataset OpenData(ParseResult options, int divisor, CancellationToken cancellation)
    {
        string data = options.GetRequiredValue(_data);
        int size = options.GetValue(_size);
        if (size % divisor != 0)
        {
            throw new UserException($"--size is {size}; it must divide by {divisor}", ExitCode.Usage);
        }

        if (data == Icons)
        {
            return OpenData(options, size > 0 ? size : DefaultIconSize, size > 0 ? size : DefaultIconSize, "the network", cancellation);
        }

        if (!Directory.Exists(data))
        {
            throw new UserException($"--data {data}: there is no such folder");
        }

        FolderDataset folder = FolderDataset.Open(data, size, cancellation);
        return folder.Height % divisor == 0 && folder.Width % divisor == 0
            ? folder
            : throw new UserException(
                $"--data {data}: the pictures have {folder.Height} x {folder.Width} pixels, which do not divide by {divisor}; --size makes them fit");
    }

    /// <summary>The settings of optimiser and loop.</summary>
    protected TrainingOptions CommonOptions(ParseResult options) => new()
    {
        Batch = options.GetValue(_batch),
        Steps = options.GetValue(_steps),
        LearningRate = options.GetValue(_rate),
        FinalRate = options.GetValue(_finalRate),
        WarmUp = options.GetValue(_warmUp),
        Seed = options.GetValue(_seed),
        AverageDecay = options.GetValue(_average),
        Optimizer = new AdamWOptions
        {
            Beta1 = options.GetValue(_beta1),
            Beta2 = options.GetValue(_beta2),
            WeightDecay = options.GetValue(_weightDecay),
            ClipNorm = options.GetValue(_clip),
        },
    };

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        string folder = options.GetRequiredValue(_out).ToString();
        var settings = new TrainingSettings(Name, _settings.ToDictionary(setting => setting.Name, setting => setting.Value(options)));
        TrainingRun.Check(folder, settings, options.GetValue(_resume));
        KernelSet kernels = _engine.CreateKernels(options);
        using WorkerPool pool = kernels.Pool;
        TrainDocument? done = null;
        await WorkProgress.RunAsync(terminal, report => Task.Run(
            () => done = Run(options, folder, settings, kernels, terminal, report, cancellation), CancellationToken.None));
        if (done is not { } document || document.Steps < options.GetValue(_steps))
        {
            Console.Error.WriteLine($"subquartic: stopped after step {done?.Steps}; {folder} is saved, the same command with --resume goes on");
            return ExitCode.Cancelled;
        }

        if (terminal.IsJson)
        {
            Terminal.WriteJson(document, Documents.Default.TrainDocument);
            return ExitCode.Success;
        }

        string quality = document.Last is { } last ? $"; at the end loss {last.Loss:0.000}, {Measure.Write(last.Measures[Measure.Name])}" : "";
        terminal.Say($"{document.Steps} steps of {document.Parameters} parameters in {Units.Time(TimeSpan.FromSeconds(document.Seconds))}{quality}:");
        foreach (FileDocument file in document.Files)
        {
            terminal.Say($"  {file.File}  {Units.Bytes(file.Bytes)}");
        }

        if (document.Attention is { } attention)
        {
            terminal.Say(attention);
        }

        return ExitCode.Success;
    }

    private TrainDocument Run(
        ParseResult options, string folder, TrainingSettings settings, KernelSet kernels, Terminal terminal, Action<string, double> report,
        CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        using Stage stage = Prepare(options, kernels, cancellation);
        var run = new TrainingRun(folder, ModelFile, stage.Description, stage.Trainer, terminal)
        {
            WeightType = WeightType.Parse(options.GetValue(_type)) ?? TensorType.Float32,
            Measure = Measure,
        };
        run.Open(settings, options.GetValue(_resume));
        List<string> files = [.. run.Files, .. MoreFiles(options, folder, stage)];
        if (run.Train(options.GetValue(_reportEvery), options.GetValue(_saveEvery), report, cancellation))
        {
            report("drawing samples", 1);
            if (DrawSamples(options, folder, stage, kernels, cancellation) is { } samples)
            {
                files.Add(run.At("samples.png"));
                ImageFile.Save(samples, files[^1]);
            }
        }

        return new TrainDocument(
            Name, folder, stage.Trainer.Step, stage.Trainer.Parameters.Count, run.Last,
            [.. files.Select(path => new FileDocument(path, new FileInfo(path).Length))], Stopwatch.GetElapsedTime(start).TotalSeconds,
            DescribeAttention());
    }

    private static Option<double> Decay(string name, string description, double value) =>
        Number(name, description, value, parsed => parsed is >= 0 and < 1, "0 or more and below 1");
}
