using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Subquartic.Checkpoints;
using Subquartic.Models;

namespace Subquartic.Cli.Verbs;

/// <summary><c>inspect</c>: what is in a checkpoint.</summary>
internal sealed class InspectVerb : Verb
{
    private readonly Argument<FileInfo> _file = new("file") { Description = "A checkpoint: .safetensors, or .pth written by PyTorch 1.6 or later." };

    public InspectVerb()
        : base(
            "inspect", "Shows a checkpoint's configuration, its number of parameters, and every tensor with the range of its values.",
            "inspect var_d16.pth",
            "inspect var_d16.pth --json")
    {
        Add(_file);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) =>
        Task.Run(() => Run(options.GetRequiredValue(_file).ToString(), terminal, cancellation), CancellationToken.None);

    private static int Run(string path, Terminal terminal, CancellationToken cancellation)
    {
        using var checkpoint = Checkpoint.Open(path);
        long bytes = new FileInfo(path).Length;
        CheckpointReport report = terminal.During($"Reading {path}", () => CheckpointReport.Create(checkpoint, cancellation));
        if (terminal.IsJson)
        {
            Terminal.WriteJson(
                new InspectDocument(
                    path, bytes, report.Parameters, Describe(report.Var), report.VqVae, report.Problem,
                    [.. report.Tensors.Select(x =>
                        new TensorDocument(x.Tensor.Name, x.Tensor.Shape, x.Tensor.Type, x.Minimum, x.Maximum, x.RootMeanSquare, x.NotFinite))]),
                Documents.Default.InspectDocument);
        }
        else
        {
            Show(report, bytes, terminal);
        }

        return ExitCode.Success;
    }

    private static VarDocument? Describe(VarConfig? config) => config is null ? null : new VarDocument(
        config.Depth, config.Width, config.Heads, config.HiddenWidth, config.Classes, config.Vocabulary, config.CodeChannels,
        config.AttentionL2Norm, config.SharedAdaLn, config.Scales.ToString(), config.Scales.Tokens, config.RopeBase);

    private static void Show(CheckpointReport report, long bytes, Terminal terminal)
    {
        Table table = Terminal.NewTable().AddColumns("tensor", "shape", "type");
        foreach (string column in new[] { "min", "max", "rms" })
        {
            table.AddColumn(new TableColumn(column).RightAligned());
        }

        table.AddColumn("note");
        foreach (TensorStatistics row in report.Tensors)
        {
            table.AddRow(
                new Text(row.Tensor.Name), new Text(string.Join(" x ", row.Tensor.Shape)), new Text(row.Tensor.Type.ToString()),
                new Text(Number(row.Minimum)), new Text(Number(row.Maximum)), new Text(Number(row.RootMeanSquare)),
                new Text(row.NotFinite == 0 ? "" : $"{row.NotFinite} not finite"));
        }

        terminal.Out.Write(table);
        if (report.Var is { } var)
        {
            terminal.Say($"VAR transformer: depth {var.Depth}, width {var.Width}, {var.Heads} heads, hidden width {var.HiddenWidth}, " +
                $"{var.Classes} classes, codebook {var.Vocabulary} x {var.CodeChannels},");
            terminal.Say($"  {(var.AttentionL2Norm ? "l2-norm" : "plain")} attention, {(var.SharedAdaLn ? "shared" : "separate")} AdaLN, " +
                $"scales {var.Scales} ({var.Scales.Tokens} tokens)");
        }

        if (report.VqVae is { } vqVae)
        {
            string phi = vqVae.SharedPhi == 0 ? "one phi per scale" : $"{vqVae.SharedPhi} phi";
            terminal.Say($"VQ-VAE: {vqVae.BaseChannels} channels times {string.Join(' ', vqVae.ChannelMultipliers)}, " +
                $"{vqVae.ResidualBlocks} residual blocks, codebook {vqVae.Vocabulary} x {vqVae.CodeChannels},");
            terminal.Say($"  {phi}, {vqVae.DownSampling} pixels per token, codes matched by {(vqVae.UseZNorm ? "cosine" : "distance")}");
        }

        if (report.Problem is { } problem)
        {
            terminal.Warn($"No configuration: {problem}");
        }

        terminal.Say($"{report.Tensors.Count} tensors, {report.Parameters.ToString("N0", CultureInfo.InvariantCulture)} parameters, {Units.Bytes(bytes)}");
    }

    private static string Number(double? value) => value?.ToString("g4", CultureInfo.InvariantCulture) ?? "";
}
