using System.Diagnostics;
using System.Globalization;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Bench;

/// <summary>Training steps of both stages at the sizes of the models in the box.</summary>
internal sealed class TrainingScenario : IScenario
{
    private const int WarmUp = 5;
    private const int MinimumSteps = 10;
    private const int Batch = 8;

    private static readonly ScaleSchedule Scales = ScaleSchedule.Square(1, 2, 3, 4, 6, 8, 12, 16);

    private static readonly VqVaeConfig Autoencoder = new()
    {
        Vocabulary = 512,
        CodeChannels = 16,
        BaseChannels = 32,
        ChannelMultipliers = [1, 2, 2],
        ResidualBlocks = 1,
        SharedPhi = 4,
    };

    public string Name => "training";

    public string Description =>
        "A training step on 8 icons of 64 x 64 pixels at the sizes of the models in the box, from reading the pictures to the new weights. The parts are the "
        + "calls of kernels that multiply, timed within the same steps; their sum is what the step would cost if everything else were free.";

    public void Run(Report report)
    {
        var kernels = new TimedKernels(report.Kernels);
        var icons = new IconDataset(IconSplit.Training, size: 64);
        string folder = Directory.CreateTempSubdirectory("subquartic-bench-").FullName;
        try
        {
            string path = Path.Combine(folder, "vae.safetensors");
            using (var first = new VqVaeTrainer(
                new VqVaeNetwork(Autoencoder, Scales, 1), icons, new TrainingOptions { Batch = Batch, LearningRate = 6e-4 }, kernels))
            {
                Measure(report, kernels, "vqvae", first);
                first.SaveModel(path);
            }

            using Checkpoint file = Checkpoint.Open(path);
            using VqVae tokenizer = VqVae.Load(file.Root, Autoencoder, Scales, kernels, withEncoder: true);
            foreach ((string name, int heads) in new[] { ("var, heads of 32", 6), ("var, heads of 8", 24) })
            {
                using var second = new VarTrainer(
                    new VarNetwork(Transformer(heads), 1), tokenizer, icons, new TrainingOptions { Batch = Batch, LearningRate = 1e-3 }, kernels);
                Measure(report, kernels, name, second);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static VarConfig Transformer(int heads) => new()
    {
        Depth = 4,
        Width = 192,
        Heads = heads,
        HiddenWidth = 768,
        Classes = 16,
        Vocabulary = 512,
        CodeChannels = 16,
        AttentionL2Norm = true,
        SharedAdaLn = false,
        Scales = Scales,
    };

    private static void Measure(Report report, TimedKernels kernels, string name, Trainer trainer)
    {
        if (!report.Wants(name))
        {
            trainer.TakeStep(); // the transformer needs some VQ-VAE
            return;
        }

        for (int i = 0; i < WarmUp; i++)
        {
            trainer.TakeStep();
        }

        kernels.Clear();
        var peaks = new List<double>();
        double seconds = 0;
        int steps = 0;
        for (; steps < MinimumSteps || seconds < report.Seconds; steps++)
        {
            peaks.Add(MultiplyAddPeak.Measure(report.Kernels, milliseconds: 4));
            long start = Stopwatch.GetTimestamp();
            trainer.TakeStep();
            seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        double peak = Report.Median(peaks);
        foreach ((string part, (double time, double operations)) in kernels.Parts.OrderByDescending(x => x.Value.Seconds))
        {
            report.Add(name, part, time / steps, operations / steps, peak);
        }

        double pure = kernels.Parts.Values.Sum(part => part.Seconds);
        report.Add(name, "whole step", seconds / steps, kernels.Parts.Values.Sum(part => part.Operations) / steps, peak);
        report.Note(string.Create(
            CultureInfo.InvariantCulture,
            $"{name}: the step takes {seconds / pure:F2}x the time of its multiplying kernels; {Batch * steps / seconds:F1} pictures/s."));
    }
}
