using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Tests.Training;

/// <summary>Models small enough to train in a test.</summary>
internal static class SmallModels
{
    /// <summary>Two blocks of width 24 over the scales 1, 2, 4; tests vary what matters to them.</summary>
    public static VarConfig Transformer { get; } = new()
    {
        Depth = 2,
        Width = 24,
        Heads = 2,
        HiddenWidth = 48,
        Classes = 16,
        Vocabulary = 24,
        CodeChannels = 8,
        AttentionL2Norm = true,
        SharedAdaLn = true,
        Scales = ScaleSchedule.Square(1, 2, 4),
    };

    /// <summary>Makes pictures of 16 x 16 pixels of its tokens.</summary>
    public static VqVaeConfig Autoencoder { get; } = new()
    {
        Vocabulary = Transformer.Vocabulary,
        CodeChannels = Transformer.CodeChannels,
        BaseChannels = 32,
        ChannelMultipliers = [1, 1, 2],
        ResidualBlocks = 1,
        SharedPhi = 2,
    };

    /// <summary>One picture of each class: every step of 16 sees the same ones, in another order.</summary>
    public static IconDataset Pictures => new(IconSplit.Training, perClass: 1, size: 16);

    /// <summary>Settings with which a few steps change much.</summary>
    public static TrainingOptions Training => new() { Batch = 16, Steps = 100, WarmUp = 2, LearningRate = 3e-3, Seed = 5 };

    /// <summary>A classifier with random weights, frozen as one that is loaded.</summary>
    public static ClassifierNetwork Judge(ulong seed)
    {
        var network = new ClassifierNetwork(3, seed);
        foreach (Parameter parameter in network.Parameters.All)
        {
            parameter.Trainable = false;
        }

        return network;
    }

    /// <summary>Writes both models with random weights as a folder that a generator reads.</summary>
    public static void Save(string folder)
    {
        using var trainer = new VqVaeTrainer(new VqVaeNetwork(Autoencoder, Transformer.Scales, 1), Pictures, Training, KernelSet.Best);
        trainer.SaveModel(Path.Combine(folder, "vae.safetensors"));
        using var network = new VarNetwork(Transformer, 1);
        SafetensorsWriter.Write(
            Path.Combine(folder, "var.safetensors"),
            [.. network.Parameters.All.Select(p => new TensorSource(
                new TensorInfo(p.Name, [.. p.Shape.Select(size => (long)size)], TensorType.Float32), (start, span) => p.Value.Span(start, span.Length).CopyTo(span)))]);
        File.WriteAllText(Path.Combine(folder, "var.json"), """{"patch_nums":[1,2,4],"num_heads":2}""");
    }

    /// <summary>Trains, perhaps interrupted; threads differ between the parts, which must not matter.</summary>
    public static (byte[] Model, double First, double Last) Train(string folder, Func<int, Trainer> create, int steps, int resumeAt)
    {
        string state = Path.Combine(folder, "state.safetensors");
        string model = Path.Combine(folder, "model.safetensors");
        Trainer trainer = create(2);
        double first = 0;
        double last = 0;
        for (int step = 0; step < steps; step++)
        {
            if (step > 0 && step == resumeAt)
            {
                trainer.SaveState(state);
                trainer.Dispose();
                trainer = create(1);
                trainer.LoadState(state);
            }

            // The quantiser's loss grows while the encoder wakes up, so the autoencoder is judged by its pictures.
            StepReport report = trainer.TakeStep();
            double loss = report.Measures.GetValueOrDefault("l1", report.Loss);
            first = step == 0 ? loss : first;
            last = loss;
        }

        trainer.SaveModel(model);
        trainer.Dispose();
        return (File.ReadAllBytes(model), first, last);
    }
}
