using System.CommandLine;
using System.Diagnostics;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Cli.Verbs;

/// <summary><c>reconstruct</c>: a picture through the VQ-VAE, to tokens and back.</summary>
internal sealed class ReconstructVerb : Verb
{
    private readonly Argument<FileInfo> _image = new("image")
    {
        Description = "The picture, PNG or PPM. Its middle is cut out and resized to the model's size.",
    };

    private readonly Option<FileInfo> _out = new("--out", "-o")
    {
        Description = "File for the result.",
        HelpName = "file",
        DefaultValueFactory = _ => new FileInfo(Path.Combine("out", "reconstructed.png")),
    };

    private readonly Option<FileInfo?> _strip = new("--strip")
    {
        Description = "File for a strip of what the tokens of 1, 2, … all scales give.",
        HelpName = "file",
    };

    private readonly EngineOptions _engine = new();

    public ReconstructVerb()
        : base(
            "reconstruct", "Turns a picture into tokens and back, which shows what the VQ-VAE can express.",
            "reconstruct photo.png",
            "reconstruct photo.png --model ~/var-d16 --out back.png --strip scales.png")
    {
        Add(_image);
        Add(_out);
        Add(_strip);
        _engine.AddTo(this);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) =>
        Task.Run(() => Run(options, terminal, cancellation), CancellationToken.None);

    private int Run(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        string source = options.GetRequiredValue(_image).ToString();
        RgbImage original = ImageFile.Load(source);
        KernelSet kernels = _engine.CreateKernels(options);
        using EngineAttention attention = _engine.CreateAttention(options, kernels, terminal);
        using ModelFiles files = _engine.Open(options, terminal);
        ScaleSchedule scales = files.VarConfig.Scales;
        using VqVae model = terminal.During(
            $"Loading {_engine.ModelName(options)}",
            () => VqVae.Load(files.VqVae, files.VqVaeConfig, scales, kernels, withEncoder: true));

        long start = Stopwatch.GetTimestamp();
        int height = scales.Last.Height * model.Config.DownSampling, width = scales.Last.Width * model.Config.DownSampling;
        RgbImage image = Resampling.Fill(original, height, width);
        using var pixels = new FloatBuffer((long)height * width * 3);
        using var features = new FloatBuffer(2L * scales.Last.Tokens * model.Config.CodeChannels);
        FeatureMap map = pixels.FeatureMap(1, height, width, 3);
        FeatureMap f = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, model.Config.CodeChannels);
        FeatureMap fHat = features.FeatureMap(1, scales.Last.Height, scales.Last.Width, model.Config.CodeChannels, f.Length);
        int[] tokens = new int[scales.Tokens];
        var steps = new List<RgbImage>();
        RgbImage result = terminal.During("Encoding and decoding", () =>
        {
            image.CopyTo(map);
            model.Encode(map, f, attention.Strategy, cancellation);
            model.Quantizer.Quantize(f, tokens, fHat);
            if (options.GetValue(_strip) is not null)
            {
                fHat.Span().Clear();
                for (int k = 0; k < scales.Count; k++)
                {
                    model.Quantizer.Accumulate(tokens.AsSpan(scales.Start(k)..scales.Start(k + 1)), k, fHat);
                    model.Decode(fHat, map, attention.Strategy, cancellation);
                    steps.Add(RgbImage.From(map));
                }

                return steps[^1];
            }

            model.Decode(fHat, map, attention.Strategy, cancellation);
            return RgbImage.From(map);
        });

        string output = Save(result, options.GetRequiredValue(_out));
        string? strip = options.GetValue(_strip) is { } stripFile ? Save(ContactSheet.Strip(steps), stripFile) : null;
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        double decibels = SignalToNoise(image, result);
        if (terminal.IsJson)
        {
            Terminal.WriteJson(
                new ReconstructDocument(
                    source, _engine.ModelPath(options), output, strip, height, width, double.IsFinite(decibels) ? decibels : null, tokens,
                    time.TotalSeconds, attention.Report()),
                Documents.Default.ReconstructDocument);
            return ExitCode.Success;
        }

        if ((original.Height, original.Width) != (height, width))
        {
            terminal.Say($"{source}: {original.Height} x {original.Width} pixels, fitted to the model's {height} x {width}.");
        }

        terminal.Say($"{tokens.Length} tokens at {scales.Count} scales, in {Units.Time(time)}; {decibels:0.0} dB PSNR against the picture.");
        attention.Report()?.Show(terminal);
        terminal.Say($"  {output}");
        if (strip is not null)
        {
            terminal.Say($"  {strip}  scale by scale");
        }

        return ExitCode.Success;
    }

    private static string Save(RgbImage image, FileInfo file)
    {
        file.Directory?.Create();
        ImageFile.Save(image, file.ToString());
        return file.ToString();
    }

    /// <summary>Peak signal-to-noise ratio in decibels: 10 log10(255^2 / mean squared difference).</summary>
    private static double SignalToNoise(RgbImage a, RgbImage b)
    {
        double sum = 0;
        for (int i = 0; i < a.Bytes.Length; i++)
        {
            double difference = a.Bytes[i] - b.Bytes[i];
            sum += difference * difference;
        }

        return 10 * Math.Log10(255 * 255 * a.Bytes.Length / sum);
    }
}
