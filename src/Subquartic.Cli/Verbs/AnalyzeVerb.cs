using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Subquartic.Checkpoints;
using Subquartic.Files;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Reports.Analysis;

namespace Subquartic.Cli.Verbs;

/// <summary><c>analyze</c>: which heads of a model meet the paper's criterion, and what fast attention could gain.</summary>
internal sealed class AnalyzeVerb : Verb
{
    private const string Stem = "analysis";

    private readonly Option<int> _images = new Option<int>("--images")
    {
        Description = "Pictures to draw and measure, going round the classes. Memory does not depend on it.",
        HelpName = "number",
        DefaultValueFactory = _ => 8,
    }.Require(value => value is >= 1 and <= 10_000, "a whole number, 1 to 10000");

    private readonly Option<string[]?> _classes = ClassOption.Create(
        "[default: the model's classes in order; of ImageNet's, those of the reference demo]");

    private readonly Option<double> _tolerance = new Option<double>("--tolerance")
    {
        Description = "Largest error of an attention output, as a fraction of the range of the values.",
        HelpName = "fraction",
        DefaultValueFactory = _ => 1e-3,
    }.Require(value => value is > 0 and < 1, "a number above 0 and below 1");

    private readonly Option<int[]> _sides = new("--n")
    {
        Description = "Sides of the last token map for which verdicts are extrapolated, separated by commas.",
        HelpName = "sides",
        DefaultValueFactory = _ => [16, 32, 64, 128],
        CustomParser = ParseSides,
    };

    private readonly Option<DirectoryInfo> _out = new("--out", "-o")
    {
        Description = $"Folder for {Stem}.html, {Stem}.md and {Stem}.json; created when missing, files of the same name are replaced.",
        HelpName = "folder",
        DefaultValueFactory = _ => new DirectoryInfo(Stem),
    };

    private readonly SamplingFlags _sampling = new();

    private readonly EngineOptions _engine = new();

    public AnalyzeVerb()
        : base(
            "analyze", "Measures every attention head while it draws, and says where fast attention is promised and where it pays, as HTML, Markdown and JSON.",
            "analyze",
            "analyze --model ~/var-d16 --images 4 --tolerance 1e-2 --n 16,32,64 --out report")
    {
        Add(_images);
        Add(_classes);
        Add(_tolerance);
        Add(_sides);
        Add(_out);
        _sampling.AddTo(this, withCandidates: false);
        _engine.AddTo(this, withAttention: false);
        AddJson();
    }

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        DirectoryInfo folder = options.GetRequiredValue(_out);
        if (File.Exists(folder.FullName))
        {
            throw new UserException($"--out {folder}: there is a file of that name");
        }

        KernelSet kernels = _engine.CreateKernels(options);
        using ModelFiles files = _engine.Open(options, terminal);
        GenerationRequest request = _sampling.Request(options, Labels(options, files), files.Sampling with { Candidates = 1 }, files.VarConfig.Scales.Count, hasCritic: false);
        ModelAnalysis? analysis = null;
        await WorkProgress.RunAsync(terminal, report => Task.Run(
            () => analysis = ModelAnalyzer.Analyze(
                files, Path.GetFileName(Path.TrimEndingDirectorySeparator(_engine.ModelPath(options))), request, options.GetValue(_tolerance), options.GetValue(_sides)!,
                kernels, report, cancellation),
            CancellationToken.None));
        folder.Create();
        Write("html", AnalysisPage.Write(analysis!));
        Write("md", AnalysisMarkdown.Write(analysis!));
        Write("json", JsonSerializer.Serialize(analysis!, Documents.Default.ModelAnalysis));
        if (terminal.IsJson)
        {
            Terminal.WriteJson(analysis!, Documents.Default.ModelAnalysis);
            return ExitCode.Success;
        }

        Show(analysis!, terminal);
        foreach (string extension in new[] { "html", "md", "json" })
        {
            terminal.Say($"  {PathOf(extension)}");
        }

        return ExitCode.Success;

        string PathOf(string extension) => Path.Combine(folder.ToString(), $"{Stem}.{extension}");
        void Write(string extension, string text) => AtomicFile.WriteText(PathOf(extension), text);
    }

    private int[] Labels(ParseResult options, ModelFiles files)
    {
        int images = options.GetValue(_images);
        int[] classes = ClassOption.Labels(options.GetValue(_classes), files.VarConfig.Classes, EngineOptions.NamesOf(files));
        return [.. Enumerable.Range(0, images).Select(i => classes[i % classes.Length])];
    }

    private static void Show(ModelAnalysis analysis, Terminal terminal)
    {
        Table table = Terminal.NewTable().AddColumn("last scale");
        foreach (string column in new[] { "R < sqrt(log n)", "B < log n", "polynomial cheaper", "multiply-adds" })
        {
            table.AddColumn(new TableColumn(column).RightAligned());
        }

        foreach (SizeAnalysis size in analysis.Sizes)
        {
            table.AddRow(
                string.Create(CultureInfo.InvariantCulture, $"n = {size.Side:0.##}{(size.Extrapolated ? "" : ", measured")}"), Counts(size.Entry), Counts(size.Score), Counts(size.Finite),
                Units.Percent(size.Mixed / size.Exact));
        }

        terminal.Out.Write(table);
        terminal.Say($"Heads that hold by their weights / held on {analysis.Run.Images} images / fail; multiply-adds with polynomials where not refuted, of exact.");
        foreach (AgreementRun run in analysis.Agreement)
        {
            terminal.Say(
                $"{run.Strategy} attention: {Units.Percent((double)run.IdenticalTokens / run.Tokens)} of the tokens as under exact attention, " +
                $"{Units.Percent((double)run.FastRows / run.Rows)} of the rows approximated, bound held in {run.BoundsHeld} of {run.Calls} calls.");
        }

        static string Counts(VerdictCounts counts) => $"{counts.Holds} / {counts.Unknown} / {counts.Fails}";
    }

    private static int[] ParseSides(ArgumentResult result)
    {
        string text = string.Join(' ', result.Tokens);
        int[] sides = [.. text.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries).Select(
            part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int side) ? side : 0)];
        if (sides.Length == 0 || sides.Any(side => side is < 2 or > 4096))
        {
            result.AddError($"--n is '{text}', must be whole numbers, 2 to 4096, separated by commas");
        }

        return sides;
    }
}
