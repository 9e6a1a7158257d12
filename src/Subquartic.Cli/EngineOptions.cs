using System.CommandLine;
using System.Diagnostics;
using Spectre.Console;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Cli;

/// <summary>The options of verbs that run a model: which one, how attention is computed, on which kernels and threads.</summary>
internal sealed class EngineOptions
{
    private const string Exact = "exact", LowRank = "low-rank", Certified = "certified", Audited = "audited", Reference = "reference";

    private readonly Option<string?> _model = new("--model", "-m")
    {
        Description = "Folder with a VAR and a VQ-VAE checkpoint (.pth or .safetensors), or one file of it. [default: the small model in the box]",
        HelpName = "path",
    };

    private readonly Option<string> _attention = new Option<string>("--attention")
    {
        Description = "How attention is computed: 'exact' is fast, 'low-rank' replaces it by polynomials where that is cheaper and within --tolerance, 'certified' also sums over keys that are alike or computes with integers where that is faster, within bounds that are proved, 'audited' does so without bounds and checks some rows of each head, 'reference' is the slow judge in double precision.",
        DefaultValueFactory = _ => Exact,
    }.OneOf(Exact, LowRank, Certified, Audited, Reference);

    private readonly Option<double> _tolerance = new Option<double>("--tolerance")
    {
        Description = "With --attention low-rank, certified or audited: largest error of an attention output, as a fraction of the range of the values.",
        HelpName = "fraction",
        DefaultValueFactory = _ => 1e-3,
    }.Require(value => value is > 0 and < 1, "a number above 0 and below 1");

    private readonly Option<bool> _evenIfSlower = new("--even-if-slower")
    {
        Description = "With --attention low-rank: approximate wherever the tolerance can be kept, also where computing exactly is faster, as to study errors.",
    };

    private readonly Option<AdapterOption.Request[]> _adapters = AdapterOption.Create();

    private readonly Option<string> _kernels = new Option<string>("--kernels")
    {
        Description = "Width of the vector kernels. [default: the widest of this processor]",
    }.OneOf([.. KernelSet.Available]);

    private readonly Option<int> _threads = new Option<int>("--threads")
    {
        Description = "Threads; 0 means one for each processor. The result does not depend on it.",
        HelpName = "number",
        DefaultValueFactory = _ => 0,
    }.Require(value => value is >= 0 and <= 1024, "a whole number, 0 to 1024");

    /// <summary>The folder of the models that come with the program.</summary>
    private static string Box => Path.Combine(AppContext.BaseDirectory, "models");

    /// <summary>The folder of the model that draws when none is named.</summary>
    public static string BoxedModel => Path.Combine(Box, "icons");

    /// <summary>The classifier that comes with the program and knows the icons.</summary>
    public static string BoxedJudge => Path.Combine(Box, "judge", "classifier.safetensors");

    /// <summary>Adds the options to a verb.</summary>
    public void AddTo(Command verb, bool withModel = true, bool withAttention = true)
    {
        if (withModel)
        {
            verb.Add(_model);
            verb.Add(_adapters);
        }

        if (withAttention)
        {
            verb.Add(_attention);
            verb.Add(_tolerance);
            verb.Add(_evenIfSlower);
        }

        verb.Add(_kernels);
        verb.Add(_threads);
    }

    /// <summary>The kernels asked for.</summary>
    public KernelSet CreateKernels(ParseResult options)
    {
        try
        {
            return KernelSet.Create(options.GetValue(_kernels) ?? KernelSet.Best.Name, options.GetValue(_threads));
        }
        catch (ArgumentException error)
        {
            throw new UserException($"SUBQUARTIC_KERNELS: {error.Message.Split(" (Parameter")[0]}");
        }
    }

    /// <summary>The attention strategy asked for, its certificates added up.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="kernels">The kernels asked for.</param>
    /// <param name="terminal">Where it is said that costs were measured.</param>
    public EngineAttention CreateAttention(ParseResult options, KernelSet kernels, Terminal terminal) => options.GetValue(_attention) switch
    {
        LowRank => EngineAttention.LowRank(kernels, options.GetValue(_tolerance), !options.GetValue(_evenIfSlower)),
        Certified => EngineAttention.Certified(kernels, options.GetValue(_tolerance), Costs(kernels, terminal)),
        Audited => EngineAttention.Audited(kernels, options.GetValue(_tolerance), Costs(kernels, terminal)),
        Reference => new EngineAttention(new ReferenceAttention(), null, 0),
        _ => new EngineAttention(new ExactAttention(kernels), null, 0),
    };

    private static Lazy<CertifiedCosts> Costs(KernelSet kernels, Terminal terminal) =>
        new(() => CertifiedCosts.ForThisMachine(kernels, CertifiedCosts.DefaultPath(kernels), line => terminal.Error.Write(new Text(line + Environment.NewLine))));

    /// <summary>The model asked for, as the user wrote it.</summary>
    public string ModelPath(ParseResult options) => options.GetValue(_model) ?? BoxedModel;

    /// <summary>What to call the model in messages.</summary>
    public string ModelName(ParseResult options) => options.GetValue(_model) ?? "the model in the box";

    /// <summary>Opens the checkpoints asked for, without reading their weights.</summary>
    /// <exception cref="CheckpointException">They are missing or damaged.</exception>
    public ModelFiles Open(ParseResult options, Terminal terminal)
    {
        ModelFiles files = AdapterOption.Apply(ModelFiles.Open(ModelPath(options)), options.GetValue(_adapters));
        if (files.Note is { } note)
        {
            terminal.Warn($"{ModelName(options)}: {note}");
        }

        return files;
    }

    /// <summary>What to call the classes: as stated beside the model, or ImageNet's names for 1000 classes.</summary>
    public static ClassNames? NamesOf(ModelFiles files) =>
        files.ClassNames is { } stated ? new ClassNames([.. stated.Select(name => (string[])[name])])
        : files.VarConfig.Classes == ClassNames.ImageNet.Count ? ClassNames.ImageNet
        : null;

    /// <summary>Loads the model asked for.</summary>
    /// <exception cref="CheckpointException">It is missing or damaged.</exception>
    public LoadedModel Load(ParseResult options, Terminal terminal, bool withEncoder, CancellationToken cancellation)
    {
        KernelSet kernels = CreateKernels(options);
        long start = Stopwatch.GetTimestamp();
        ModelFiles files = Open(options, terminal);
        EngineAttention attention = CreateAttention(options, kernels, terminal);
        var setup = new GeneratorOptions { Kernels = kernels, Attention = _ => attention.Strategy, WithEncoder = withEncoder };
        ImageGenerator generator = terminal.DuringReading(
            $"Loading {ModelName(options)}",
            _ =>
            {
                using (files)
                {
                    return ImageGenerator.Load(files, setup);
                }
            },
            cancellation);
        return new LoadedModel(
            ModelPath(options), ModelName(options), generator, attention, kernels, files.Note, NamesOf(files), files.Sampling,
            Stopwatch.GetElapsedTime(start));
    }
}

/// <summary>A model ready to draw.</summary>
/// <param name="Path">Where it came from.</param>
/// <param name="Name">What to call it in messages.</param>
/// <param name="Generator">Transformer, quantiser and decoder.</param>
/// <param name="Attention">The attention strategy.</param>
/// <param name="Kernels">The kernels it runs on.</param>
/// <param name="Note">What its author says about it, or null.</param>
/// <param name="ClassNames">Names of the classes, or null.</param>
/// <param name="Sampling">How it is drawn with where the user says nothing.</param>
/// <param name="LoadTime">How long loading took.</param>
internal sealed record LoadedModel(
    string Path, string Name, ImageGenerator Generator, EngineAttention Attention, KernelSet Kernels, string? Note, ClassNames? ClassNames,
    SamplingDefaults Sampling, TimeSpan LoadTime) : IDisposable
{
    /// <summary>Number of scales.</summary>
    public int Scales => Generator.Transformer.Config.Scales.Count;

    public void Dispose()
    {
        Generator.Dispose();
        Attention.Dispose();
        Kernels.Pool.Dispose();
    }
}
