using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits lora</c>: fast gradients of LoRA through attention.</summary>
internal sealed class LimitsLoraVerb : LimitsSubcommand
{
    private readonly Option<int> _maxSide = new Option<int>("--max-n")
    {
        Description = "Largest side of the last token map that is timed; twice as much takes 16 times as long.",
        HelpName = "side",
        DefaultValueFactory = _ => 128,
    }.Require(value => value is >= 4 * LoraReport.FirstSide and <= 512, $"a whole number, {4 * LoraReport.FirstSide} to 512");

    private readonly Option<int> _width = new Option<int>("--width")
    {
        Description = "Width of the head, d.",
        HelpName = "channels",
        DefaultValueFactory = _ => 4,
    }.Require(value => value is >= 1 and <= 16, "a whole number, 1 to 16");

    private readonly Option<double> _tolerance = ToleranceOption("a gradient, as a fraction of its natural size", 1e-2);

    public LimitsLoraVerb()
        : base(
            "lora", "Measures gradients of LoRA by polynomials: time, largest change, error against bound, and training with them.",
            "limits lora",
            "limits lora --max-n 256 --tolerance 1e-3 --picture lora.svg --json")
    {
        Add(_maxSide);
        Add(_width);
        Add(_tolerance);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => LoraReport.Measure(kernels, options.GetValue(_maxSide), options.GetValue(_width), options.GetValue(_tolerance), cancellation: cancellation),
        Documents.Default.LoraReport, report => report.Picture(), Show);

    private static void Show(LoraReport report, Terminal terminal)
    {
        Table(
            terminal, ["n", "tokens", "exact", "low-rank", "degree", "speed-up", "difference of dQ"],
            report.Times.Select(t => (IEnumerable<object>)[
                t.Side, t.Tokens, Units.Time(TimeSpan.FromSeconds(t.ExactSeconds)), Units.Time(TimeSpan.FromSeconds(t.LowRankSeconds)), t.Degree, t.Speedup, t.Difference]));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"Output and gradient of one head, d = {report.Width}, on one thread ({report.Kernels}): time grows as tokens^{report.ExactExponent:0.00} exactly and tokens^{report.LowRankExponent:0.00} by polynomials; "
            + $"{(report.Crossing is { } crossing ? $"they cross at {Number(Math.Round(crossing))} tokens" : "they do not cross")}. Tolerance {report.Tolerance}."));
        Table(terminal, ["|B A|", "|X B A|", "|X W* + X B A|", "scores", "degree", "features", "cost, of exact"], report.Phases.Concat(report.EqualChanges).Select(Row));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"{report.PhaseTokens} tokens; B A includes alpha/r. Beyond cost 1 the gradient is computed exactly. The last two rows change W equally, where the tokens are and where they are not."));
        Table(
            terminal, ["degree", "features", "error of dQ", "bound", "error of dK", "bound", "error of dV", "bound"],
            report.Errors.Select(e => (IEnumerable<object>)[e.Degree, e.Features, e.Queries, e.QueryBound, e.Keys, e.KeyBound, e.Values, e.ValueBound]));
        terminal.Say($"{report.ErrorTokens} tokens, against plain loops in double.");
        Table(
            terminal, ["adapted", "gradient", "first loss", "last loss", "exact steps", "|X W* + X B A| at the end"],
            report.Runs.Select(run => (IEnumerable<object>)[run.Adapted, run.Gradient, run.Losses[0], run.Losses[^1], run.ExactHeads, run.Gamma]));
        terminal.Say($"{report.Runs[0].Losses.Count} steps on {report.TrainingTokens} tokens towards a teacher with a hidden change.");
    }

    private static IEnumerable<object> Row(LoraPhase phase) =>
        [phase.Change, phase.Product, phase.Gamma, phase.HalfRange, phase.Degree ?? (object)"above 12", phase.Features ?? (object)"", phase.Cost ?? (object)""];
}
