using System.CommandLine;
using System.Diagnostics;
using Subquartic.Checkpoints;
using Subquartic.Models;

namespace Subquartic.Cli.Verbs;

/// <summary><c>random</c>: a model that was never trained, to measure with.</summary>
internal sealed class RandomVerb : Verb
{
    private readonly Option<int> _depth = new Option<int>("--depth")
    {
        Description = "Size of a released model: 16, 20, 24, 30 (256 pixels) or 36 (512 pixels). Depth 16 takes 1.7 GB.",
        HelpName = "blocks",
        DefaultValueFactory = _ => 16,
    }.Require(depth => depth is 16 or 20 or 24 or 30 or 36, "16, 20, 24, 30 or 36");

    private readonly Option<bool> _tiny = new("--tiny") { Description = "The smallest size instead, for trials: 64 pixels, 10 classes." };

    private readonly Option<DirectoryInfo> _out = new("--out", "-o") { Description = "Folder for the two files.", HelpName = "folder", Required = true };

    private readonly Option<string?> _type = WeightType.CreateOption("Type of the weights. [default: f32]");

    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the weights.", HelpName = "number", DefaultValueFactory = _ => 1 };

    public RandomVerb()
        : base(
            "random", "Writes a model with random weights in the shape of the released ones, to measure speed and memory. It draws coloured noise.",
            "random --depth 16 --out random-d16",
            "random --tiny --dtype f16 --out models/tiny")
    {
        Add(_depth);
        Add(_tiny);
        Add(_out);
        Add(_type);
        Add(_seed);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) =>
        Task.Run(() => Run(options, terminal, cancellation), CancellationToken.None);

    private int Run(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        bool tiny = options.GetValue(_tiny);
        string folder = options.GetRequiredValue(_out).ToString();
        long start = Stopwatch.GetTimestamp();
        FilesDocument written = terminal.During($"Writing {folder}", () =>
        {
            RandomModel.Write(
                folder, tiny ? VarConfig.Tiny : VarConfig.Released(options.GetValue(_depth)), tiny ? VqVaeConfig.Tiny : VqVaeConfig.Released,
                WeightType.Parse(options.GetValue(_type)) ?? TensorType.Float32, options.GetValue(_seed), cancellation);
            return FilesDocument.Of([Path.Combine(folder, RandomModel.VarFile), Path.Combine(folder, RandomModel.VqVaeFile)], Stopwatch.GetElapsedTime(start));
        });
        written.Show(terminal);
        return ExitCode.Success;
    }
}
